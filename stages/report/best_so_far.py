"""The best value so far against its cost: for trainings in their order, and over many searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """The best value so far over many searches.

    Attributes:
        cost: The total cost, ascending, shape (points,).
        low, mean, high: The 5th percentile, the mean and the 95th percentile over the searches at each cost, shape
            (points,); NaN where fewer than nine searches in ten have finished a training.
    """

    cost: Floats
    low: Floats
    mean: Floats
    high: Floats

    def at(self, cost: float) -> tuple[float, float, float] | None:
        """Return low, mean and high at a cost; None if too few searches had finished a training by then."""
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


def band(costs: Floats, values: Floats, total: float, marks: Sequence[float] = ()) -> Band:
    """Return the best value so far over many searches.

    Args:
        costs: The cost of each training of each search, in any unit, shape (searches, trainings). Each search costs at
            least `total`.
        values: The value of each training, 0 to 1, same shape.
        total: The cost at which the band ends.
        marks: Further costs of the band, besides 200 from 0 to `total`.
    """
    at = np.unique([*np.linspace(0, total, POINTS), *marks])
    best_by_search = np.empty((len(costs), len(at)))
    for number, (cost, value) in enumerate(zip(costs, values, strict=True)):
        best = np.concatenate([[np.nan], np.maximum.accumulate(value)])
        best_by_search[number] = best[np.searchsorted(np.cumsum(cost), at * (1 + 1e-9), side="right")]
    enough = np.isfinite(best_by_search).mean(axis=0) >= 0.9
    low, mean, high = (np.full(len(at), np.nan) for _ in range(3))
    if enough.any():
        low[enough], high[enough] = np.nanpercentile(best_by_search[:, enough], [5, 95], axis=0)
        mean[enough] = np.nanmean(best_by_search[:, enough], axis=0)
    return Band(at, low, mean, high)
