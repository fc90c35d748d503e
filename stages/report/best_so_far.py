"""The best so far over what it has cost: of the trials in their order, of a grid, and of the trials in random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDERS = 300  # random orders; 90 of 100 of them lie within a band that 300 show well

POINTS = 200  # of a band, as fine as a figure shows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A step function.

    Attributes:
        cost: What was spent when each training ended, ascending, shape (n,).
        best: The greatest value until then, 0 to 1, shape (n,).
    """

    cost: Floats
    best: Floats

    def at(self, cost: float) -> float | None:
        """The best for that cost; None where nothing had ended yet."""
        place = int(np.searchsorted(self.cost, cost * (1 + 1e-9), side="right")) - 1
        return float(self.best[place]) if place >= 0 else None


@dataclass(frozen=True)
class Band:
    """What random orders find.

    Attributes:
        cost: Shape (points,).
        low, mean, high: The 5th percentile, the mean and the 95th percentile over the orders at each cost, shape
            (points,); not a number before nine orders in ten have ended a training.
    """

    cost: Floats
    low: Floats
    mean: Floats
    high: Floats

    def at(self, cost: float) -> tuple[float, float, float] | None:
        """Percentile, mean and percentile for that cost; None where too little had ended yet."""
        place = int(np.searchsorted(self.cost, cost * (1 + 1e-9), side="right")) - 1
        if place < 0 or not np.isfinite(self.mean[place]):
            return None
        return float(self.low[place]), float(self.mean[place]), float(self.high[place])


def curve(costs: Sequence[float], values: Sequence[float]) -> Curve:
    """The best so far of trainings in this order.

    Args:
        costs: Of each training, in any unit.
        values: Of each training, 0 to 1.
    """
    return Curve(np.cumsum(np.asarray(costs, float)), np.maximum.accumulate(np.asarray(values, float)))


def random_orders(costs: Sequence[float], values: Sequence[float], marks: Sequence[float] = (), seed: int = 0) -> Band:
    """What the same trainings find in random order.

    A training that was stopped early counts with what it reached, so this flatters the random order a little: it is
    spared what the sampler's losers would have cost to their end.

    Args:
        costs: Of each training, at least one.
        values: Of each training, 0 to 1.
        marks: Costs to look at, beside 200 from 0 to the whole cost.
        seed: Of the orders.
    """
    cost, value = np.asarray(costs, float), np.asarray(values, float)
    at = np.unique([*np.linspace(0, cost.sum(), POINTS), *marks])
    random = np.random.default_rng(seed)
    found = np.empty((ORDERS, len(at)))
    for number in range(ORDERS):
        order = random.permutation(len(cost))
        spent = np.cumsum(cost[order])
        best = np.concatenate([[np.nan], np.maximum.accumulate(value[order])])
        found[number] = best[np.searchsorted(spent, at * (1 + 1e-9), side="right")]
    enough = np.isfinite(found).mean(axis=0) >= 0.9
    low, mean, high = (np.full(len(at), np.nan) for _ in range(3))
    seen = found[:, enough]
    low[enough], high[enough] = np.nanpercentile(seen, [5, 95], axis=0)
    mean[enough] = np.nanmean(seen, axis=0)
    return Band(at, low, mean, high)
