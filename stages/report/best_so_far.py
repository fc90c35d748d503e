"""The best value so far against its cost: for trainings in their order, and for the same trainings in random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDERS = 300  # random orders: enough for a stable 5th and 95th percentile

POINTS = 200  # of a band: as fine as a figure can show

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The best value so far, as a step function of the cost.

    Attributes:
        cost: The total cost at the end of each training, ascending, shape (n,).
        best: The greatest value so far, 0 to 1, shape (n,).
    """

    cost: Floats
    best: Floats

    def at(self, cost: float) -> float | None:
        """Return the best value at a cost; None if no training had ended by then."""
        place = int(np.searchsorted(self.cost, cost * (1 + 1e-9), side="right")) - 1
        return float(self.best[place]) if place >= 0 else None


@dataclass(frozen=True)
class Band:
    """The best value so far over many random orders.

    Attributes:
        cost: The total cost, ascending, shape (points,).
        low, mean, high: The 5th percentile, the mean and the 95th percentile over the orders at each cost, shape
            (points,); NaN where fewer than nine orders in ten have finished a training.
    """

    cost: Floats
    low: Floats
    mean: Floats
    high: Floats

    def at(self, cost: float) -> tuple[float, float, float] | None:
        """Return low, mean and high at a cost; None if too few orders had finished a training by then."""
        place = int(np.searchsorted(self.cost, cost * (1 + 1e-9), side="right")) - 1
        if place < 0 or not np.isfinite(self.mean[place]):
            return None
        return float(self.low[place]), float(self.mean[place]), float(self.high[place])


def curve(costs: Sequence[float], values: Sequence[float]) -> Curve:
    """Return the best value so far of trainings in this order.

    Args:
        costs: The cost of each training, in any unit.
        values: The value of each training, 0 to 1.
    """
    return Curve(np.cumsum(np.asarray(costs, float)), np.maximum.accumulate(np.asarray(values, float)))


def random_orders(costs: Sequence[float], values: Sequence[float], marks: Sequence[float] = (), seed: int = 0) -> Band:
    """Return the best value so far of the same trainings in random order.

    A pruned training counts with the value and the cost at which it stopped. This favours random order a little:
    without the pruner, these trainings would have cost more.

    Args:
        costs: The cost of each training, in any unit; at least one.
        values: The value of each training, 0 to 1.
        marks: Further costs of the band, besides 200 from 0 to the total cost.
        seed: The seed of the orders.
    """
    cost, value = np.asarray(costs, float), np.asarray(values, float)
    at = np.unique([*np.linspace(0, cost.sum(), POINTS), *marks])
    random = np.random.default_rng(seed)
    best_by_order = np.empty((ORDERS, len(at)))
    for number in range(ORDERS):
        order = random.permutation(len(cost))
        spent = np.cumsum(cost[order])
        best = np.concatenate([[np.nan], np.maximum.accumulate(value[order])])
        best_by_order[number] = best[np.searchsorted(spent, at * (1 + 1e-9), side="right")]
    enough = np.isfinite(best_by_order).mean(axis=0) >= 0.9
    low, mean, high = (np.full(len(at), np.nan) for _ in range(3))
    enough_orders = best_by_order[:, enough]
    low[enough], high[enough] = np.nanpercentile(enough_orders, [5, 95], axis=0)
    mean[enough] = np.nanmean(enough_orders, axis=0)
    return Band(at, low, mean, high)
