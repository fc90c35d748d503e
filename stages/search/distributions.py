"""The search space in Optuna's terms, and the points of a space that can be listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from stages.params.space import Dimension, Point, same, step_value

MAX_LISTED = 10_000  # points of a space whose untried points are listed

Distributions = Mapping[str, BaseDistribution]
PointKeys = set[tuple[tuple[str, str], ...]]
"""A set of points, each as the key that `same` returns."""


def distribution(dimension: Dimension, whole: bool) -> BaseDistribution:
    """Return a dimension of the search space as Optuna's distribution.

    Args:
        dimension: The dimension.
        whole: Whether its values are whole numbers.
    """
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    low, high = float(dimension.low), float(dimension.high)
    step = None if dimension.step is None else float(dimension.step)
    if step is not None:  # Optuna would do the same, with a warning
        high = step_value(low, step, math.floor((high - low) / step + 1e-9))
    if whole:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values of a distribution, or None if they cannot be listed."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, FloatDistribution) and distribution.single():
        return [distribution.low]
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        steps = round((distribution.high - distribution.low) / distribution.step)
        return [step_value(distribution.low, distribution.step, step) for step in range(steps + 1)]
    return None


def untried(distributions: Distributions, excluded: PointKeys) -> list[Point] | None:
    """Return the points of a small space that are not excluded, or None if the space is too large to be exhausted."""
    lists = [listed for distribution in distributions.values() if (listed := values(distribution)) is not None]
    if len(lists) < len(distributions) or math.prod(map(len, lists)) > MAX_LISTED + len(excluded):
        return None
    points = (dict(zip(distributions, point, strict=True)) for point in product(*lists))
    return [point for point in points if same(point) not in excluded]
