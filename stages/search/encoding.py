"""Points of a search space as rows of numbers, for models that compare points by their distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from stages.params.space import Point, rounded
from stages.search.distributions import Distributions, values

Floats = NDArray[np.float64]

MAX_STEPS = 1000  # a range of more whole numbers without a step counts as continuous
ELSEWHERE = -1.0  # the number of a category that the space does not have


class Encoding:
    """Turns points into rows with one number per key, and rows into points.

    An ordered key has a number from 0 (its lowest value) to 1 (its highest). `choices` that are numbers are ordered,
    and evenly spaced by their rank: 320, 640 and 1280 become 0, 0.5 and 1. Any other choice has its position in the
    list, which has no order.

    Attributes:
        keys: The keys, in the order of the columns.
        is_category: Whether the values of a column have no order, shape (keys,).
        levels: The number of steps between the lowest and the highest value of an ordered column; 0 if it has a single
            value, NaN if it is continuous. Shape (keys,).
    """

    def __init__(self, distributions: Distributions) -> None:
        self.keys = list(distributions)
        self._columns = [_column(distribution) for distribution in distributions.values()]
        self.is_category = np.array([isinstance(column, _Categories) for column in self._columns])
        self.levels = np.array([column.levels for column in self._columns], float)

    def row(self, point: Mapping[str, Any]) -> Floats:
        """Return a point as a row.

        A number outside the space becomes the nearest value of the space, and a category outside it ELSEWHERE.
        """
        return np.array([column.number(point[key]) for key, column in zip(self.keys, self._columns, strict=True)])

    def is_complete(self, point: Mapping[str, Any]) -> bool:
        """Return whether a point has a value for each key."""
        return all(key in point for key in self.keys)

    def point(self, row: Floats) -> Point:
        """Return the point of a row of this space."""
        numbers = zip(self.keys, self._columns, row, strict=True)
        return {key: column.value(float(number)) for key, column, number in numbers}

    def numbers(self, key: str, rows: Floats) -> Floats:
        """Return the values of an ordered key in rows, shape (n,)."""
        index = self.keys.index(key)
        return np.array([float(self._columns[index].value(number)) for number in rows[:, index]])

    def random(self, random: np.random.Generator, count: int) -> Floats:
        """Return rows drawn uniformly from the space, shape (count, keys)."""
        rows = random.random((count, len(self.keys)))
        for index, column in enumerate(self._columns):
            if isinstance(column, _Categories | _Steps):  # each value with equal probability
                steps = random.integers(0, column.levels + 1, count)
                rows[:, index] = steps if isinstance(column, _Categories) else steps / max(column.levels, 1)
        return rows

    def snapped(self, rows: Floats) -> Floats:
        """Return rows moved to the nearest values of the space, shape (n, keys)."""
        snapped = np.clip(rows, 0, np.where(self.is_category, self.levels, 1))
        stepped = np.isfinite(self.levels) & ~self.is_category
        levels = np.maximum(self.levels[stepped], 1)
        snapped[:, stepped] = np.round(snapped[:, stepped] * levels) / levels
        snapped[:, self.is_category] = np.round(snapped[:, self.is_category])
        snapped[:, self.levels == 0] = 0
        return snapped


class _Categories:
    """Choices without an order."""

    def __init__(self, choices: Sequence[Any]) -> None:
        self._choices, self.levels = list(choices), len(choices) - 1

    def number(self, value: Any) -> float:
        return float(self._choices.index(value)) if value in self._choices else ELSEWHERE

    def value(self, number: float) -> Any:
        return self._choices[round(number)]


class _Steps:
    """Numbers in ascending order, which count as evenly spaced."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values, self.levels = list(values), len(values) - 1
        self._numbers = {value: rank / max(self.levels, 1) for rank, value in enumerate(values)}

    def number(self, value: Any) -> float:
        if not isinstance(value, int | float):
            return 0.0
        if value in self._numbers:
            return self._numbers[value]
        rank = float(np.interp(value, self._values, range(len(self._values))))
        return rank / max(self.levels, 1)

    def value(self, number: float) -> Any:
        return self._values[round(number * self.levels)]


class _Range:
    """A range of numbers without listed steps, linear or logarithmic."""

    levels = math.nan

    def __init__(self, low: float, high: float, log: bool, whole: bool) -> None:
        self._low, self._high, self._log, self._whole = low, high, log, whole

    def number(self, value: Any) -> float:
        if not isinstance(value, int | float):
            return 0.0
        low, high, value = self._low, self._high, min(max(value, self._low), self._high)
        return math.log(value / low) / math.log(high / low) if self._log else (value - low) / (high - low)

    def value(self, number: float) -> float | int:
        low, high = self._low, self._high
        value = low * (high / low) ** number if self._log else low + (high - low) * number
        return round(value) if self._whole else min(max(rounded(value), low), high)


def _column(distribution: BaseDistribution) -> _Categories | _Steps | _Range:
    listed = values(distribution)
    if isinstance(distribution, CategoricalDistribution):
        numbers = all(
            isinstance(choice, int | float) and not isinstance(choice, bool) for choice in distribution.choices
        )
        return _Steps(sorted(distribution.choices)) if numbers else _Categories(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if listed is not None:
        is_fine = isinstance(distribution, IntDistribution) and distribution.step == 1 and len(listed) > MAX_STEPS
        if len(listed) == 1 or not (distribution.log or is_fine):
            return _Steps(listed)
    return _Range(distribution.low, distribution.high, distribution.log, isinstance(distribution, IntDistribution))
