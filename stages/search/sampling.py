"""The search space in Optuna's terms, the samplers and the pruners."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from stages.params.space import Dimension, Point, rounded, same

STARTUP = 5  # finished trials before the sampler models, and before the pruner compares
MAX_ENUMERATED = 10_000  # points of a space whose untried points are listed

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
    if whole:
        return IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1)
        )
    step = None if dimension.step is None else float(dimension.step)
    high = float(dimension.high)
    if step is not None:  # Optuna would do the same, with a warning
        high = dimension.low + step * math.floor((high - dimension.low) / step + 1e-9)
    return FloatDistribution(float(dimension.low), rounded(high), log=dimension.log, step=step)


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
        return [rounded(distribution.low + distribution.step * step) for step in range(steps + 1)]
    return None


class Exhausted(Exception):
    """Every point of the space has been tried."""


class Sampler(BaseSampler):
    """Optuna's TPE or random sampler, repeated until it suggests a point that is not excluded.

    If TPE suggests five excluded points, random points follow. If 1000 of these are excluded too, the point is one of
    the untried points of the space, or Exhausted is raised.

    The random numbers of a trial depend on the seed and the number of the trial only. So a resumed study does not
    repeat itself, and a study that is run again suggests the same points.
    """

    def __init__(self, kind: str, seed: int, distributions: Distributions, excluded: PointKeys):
        """Create the sampler.

        Args:
            kind: `tpe` or `random`.
            seed: Of the random numbers.
            distributions: The search space.
            excluded: Points that are not suggested. The caller may change this set between trials.
        """
        self._kind, self._seed, self._distributions, self._excluded = kind, seed, distributions, excluded

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Point:
        if trial.system_attrs.get("fixed_params"):  # an enqueued point
            return {}
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        random = RandomSampler(seed=seed)
        samplers: list[BaseSampler] = [random] * 1000
        if self._kind == "tpe":
            samplers[:0] = [TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)] * 5
        searched = {name: values for name, values in search_space.items() if not values.single()}
        for sampler in samplers:
            suggested = sampler.sample_relative(study, trial, searched)
            point = {
                name: self._within(distribution, suggested[name])
                if name in suggested
                else self._within(distribution, random.sample_independent(study, trial, name, distribution))
                for name, distribution in search_space.items()
            }
            if same(point) not in self._excluded:
                return point
        points = untried(search_space, self._excluded)
        if not points:
            raise Exhausted
        return points[seed % len(points)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not in the search space")

    @staticmethod
    def _within(distribution: BaseDistribution, value: Any) -> Any:
        if not isinstance(distribution, FloatDistribution):
            return value
        return min(max(rounded(value), distribution.low), distribution.high)


def untried(distributions: Distributions, excluded: PointKeys) -> list[Point] | None:
    """Return the points of a small space that are not excluded, or None if the space is too large to be exhausted."""
    lists = [listed for distribution in distributions.values() if (listed := values(distribution)) is not None]
    if len(lists) < len(distributions) or math.prod(map(len, lists)) > MAX_ENUMERATED + len(excluded):
        return None
    points = (dict(zip(distributions, point, strict=True)) for point in product(*lists))
    return [point for point in points if same(point) not in excluded]


class MedianPruner(BasePruner):
    """Stop a trial that is worse than the median of the others at the same share of their training.

    Optuna's MedianPruner compares at the same epoch. That is unfair if the number of epochs is searched: at one epoch
    the learning rate of a short training is already low and that of a long training is still high. The long trainings,
    which end best, would be stopped.

    The comparison starts after a third of the training, and with five complete trials.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None:
            return False
        share = step / trial.user_attrs["epochs"]
        if share < 1 / 3 or share >= 1:
            return False
        others = []  # the best value of each complete trial up to this share
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if not other.intermediate_values:  # added from outside the study
                continue
            last = math.floor(share * other.user_attrs["epochs"] + 1e-9)
            reported = [value for epoch, value in other.intermediate_values.items() if epoch <= last]
            if reported:
                others.append(max(reported))
        if len(others) < STARTUP:
            return False
        return max(trial.intermediate_values.values()) < statistics.median(others)


def pruner(kind: str, epochs: int) -> BasePruner:
    """Return the pruner of a study.

    Args:
        kind: `median`, `hyperband` or `none`.
        epochs: The number of epochs in params.yaml, from which Hyperband makes its brackets.
    """
    if kind == "median":
        return MedianPruner()
    return HyperbandPruner(min_resource=1, max_resource=epochs) if kind == "hyperband" else NopPruner()
