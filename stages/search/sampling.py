"""What a study tries next, and what it stops early: the search space in Optuna's terms, sampler and pruner."""

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
ENUMERATED = 10_000  # points, at most, of a space that is searched for what is left

Distributions = Mapping[str, BaseDistribution]
Taken = set[tuple[tuple[str, str], ...]]
"""Points that are not to be tried, as `same` gives them."""


def distribution(dimension: Dimension, whole: bool) -> BaseDistribution:
    """A dimension of the search space as Optuna's distribution."""
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
    if step is not None:  # what Optuna would do with a warning
        high = dimension.low + step * math.floor((high - dimension.low) / step + 1e-9)
    return FloatDistribution(float(dimension.low), rounded(high), log=dimension.log, step=step)


def values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """All values of a distribution; None where they are not to be counted."""
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
    """Points that nobody has tried yet: Optuna's sampler, asked again where it repeats itself.

    Each trial has random numbers of its own, from the seed and its number: a resumed study does not repeat itself, and
    the same study comes out the same.
    """

    def __init__(self, kind: str, seed: int, distributions: Distributions, taken: Taken):
        self._kind, self._seed, self._distributions, self._taken = kind, seed, distributions, taken

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Point:
        if trial.system_attrs.get("fixed_params"):  # a point that was asked for
            return {}
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        plain = RandomSampler(seed=seed)
        samplers: list[BaseSampler] = [plain] * 1000
        if self._kind == "tpe":
            samplers[:0] = [TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)] * 5
        searched = {name: values for name, values in search_space.items() if not values.single()}
        for sampler in samplers:
            drawn = sampler.sample_relative(study, trial, searched)
            point = {
                name: self._within(distribution, drawn[name])
                if name in drawn
                else self._within(distribution, plain.sample_independent(study, trial, name, distribution))
                for name, distribution in search_space.items()
            }
            if same(point) not in self._taken:
                return point
        left = untried(search_space, self._taken)
        if not left:
            raise Exhausted
        return left[seed % len(left)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not in the search space")

    @staticmethod
    def _within(distribution: BaseDistribution, value: Any) -> Any:
        if not isinstance(distribution, FloatDistribution):
            return value
        return min(max(rounded(value), distribution.low), distribution.high)


def untried(distributions: Distributions, taken: Taken) -> list[Point] | None:
    """The points of a small space that are not taken; None where the space is large, and has some for certain."""
    choices = [values(distribution) for distribution in distributions.values()]
    if any(choice is None for choice in choices):
        return None
    lists = [choice for choice in choices if choice is not None]
    if math.prod(len(choice) for choice in lists) > ENUMERATED + len(taken):
        return None
    points = (dict(zip(distributions, point, strict=True)) for point in product(*lists))
    return [point for point in points if same(point) not in taken]


class MedianPruner(BasePruner):
    """Stops a trial that is worse than the median of the others at the same share of their training.

    Optuna's own compares at the same epoch. Where the number of epochs is searched, the learning rate of a short
    training is already low when a long one's is still high, and the long ones, which end best, would be stopped.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None:
            return False
        share = step / trial.user_attrs["epochs"]
        if share < 1 / 3 or share >= 1:
            return False
        others = []
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            known = other.intermediate_values
            until = math.floor(share * other.user_attrs["epochs"] + 1e-9) if known else 0
            seen = [value for at, value in known.items() if at <= until]
            if seen:
                others.append(max(seen))
        if len(others) < STARTUP:
            return False
        return max(trial.intermediate_values.values()) < statistics.median(others)


def pruner(kind: str, epochs: int) -> BasePruner:
    if kind == "median":
        return MedianPruner()
    return HyperbandPruner(min_resource=1, max_resource=epochs) if kind == "hyperband" else NopPruner()
