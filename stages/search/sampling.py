"""The samplers: each suggests the next point of a study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from stages.params.schema import Limits
from stages.params.space import Point, rounded, same, step_value
from stages.search.curves import trainings
from stages.search.distributions import Distributions, PointKeys, untried
from stages.search.encoding import Encoding
from stages.search.limits import Feasibility
from stages.search.suggestion import Suggestion, fullest, suggest
from stages.services.storage import FINISHED

MAX_GP = 200  # finished trials up to which `auto` is `gp`: the process would see a part of more trials only
STARTUP = 5  # finished trials before TPE models
GAIN = "expected_gain"  # the attribute of a trial: the greatest expected gain when it was suggested, in mAP50


class Exhausted(Exception):
    """Every point of the space has been tried."""

    def __init__(self) -> None:
        super().__init__("every point of tune.space has been tried")


class Sampler(BaseSampler):
    """Suggest a point that is not excluded, by a Gaussian process, by Optuna's TPE, or at random.

    If TPE suggests five excluded points, random points follow. If 1000 of these are excluded too, the point is one of
    the untried points of the space, or Exhausted is raised.

    The random numbers of a trial depend on the seed and the number of the trial only. So a resumed study does not
    repeat itself, and a study that is run again suggests the same points.
    """

    def __init__(
        self, kind: str, seed: int, distributions: Distributions, start: Point, excluded: PointKeys, limits: Limits
    ):
        """Create the sampler.

        Args:
            kind: `auto`, `gp`, `tpe` or `random`. `auto` is `gp` up to MAX_GP finished trials, then `tpe`.
            seed: Of the random numbers.
            distributions: The search space.
            start: The point of params.yaml.
            excluded: Points that are not suggested. The caller may change this set between trials.
            limits: What a setting may cost.
        """
        self._kind, self._seed, self._distributions, self._excluded = kind, seed, distributions, excluded
        self._encoding, self._limits = Encoding(distributions), limits
        # The setting with the most epochs and pixels is the one that most probably breaks a limit.
        self._second = fullest(start, self._encoding) if not limits.active() else None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Point:
        fixed = trial.system_attrs.get("fixed_params", {})
        if search_space.keys() <= fixed.keys():  # an enqueued point; it may lack keys if the database broke off
            return {}
        sequence = np.random.SeedSequence([self._seed, trial.number])
        seed = int(sequence.generate_state(1)[0])
        trials = study.get_trials(deepcopy=False)
        method = self._method(trials)
        if method == "gp":
            suggestion = self._by_forecast(trials, np.random.default_rng(sequence))
            if suggestion is not None:
                study._storage.set_trial_user_attr(trial._trial_id, GAIN, round(suggestion.gain, 6))
                return suggestion.point
        for point in self._by_optuna(study, trial, method, seed):
            if self._is_allowed(point):
                return point
        points = untried(search_space, self._excluded)
        if not points:
            raise Exhausted
        return points[seed % len(points)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not in the search space")

    def _method(self, trials: Sequence[FrozenTrial]) -> str:
        if self._kind != "auto":
            return self._kind
        finished = sum(trial.state in FINISHED for trial in trials)
        return "gp" if finished <= MAX_GP else "tpe"

    def _is_allowed(self, point: Point) -> bool:
        return same(point) not in self._excluded

    def _by_forecast(self, trials: Sequence[FrozenTrial], random: np.random.Generator) -> Suggestion | None:
        """Return the point where the forecast expects most; None if nothing was measured or no candidate is allowed."""
        curves = trainings(trials, self._encoding)
        feasibility = Feasibility.learned(trials, self._encoding, self._limits)
        return suggest(curves, self._encoding, self._second, feasibility, random, self._is_allowed)

    def _by_optuna(self, study: optuna.Study, trial: FrozenTrial, method: str, seed: int) -> Iterator[Point]:
        """Yield points of Optuna's samplers: five of TPE, if that is the method, and 1000 at random."""
        random = RandomSampler(seed=seed)
        samplers: list[BaseSampler] = [random] * 1000
        if method == "tpe":
            samplers[:0] = [TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)] * 5
        searched = {name: values for name, values in self._distributions.items() if not values.single()}
        for sampler in samplers:
            suggested = sampler.sample_relative(study, trial, searched)
            yield {
                name: _within(distribution, suggested[name])
                if name in suggested
                else _within(distribution, random.sample_independent(study, trial, name, distribution))
                for name, distribution in self._distributions.items()
            }


def _within(distribution: BaseDistribution, value: Any) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    low, step = distribution.low, distribution.step
    if step is not None:
        return step_value(low, step, round((value - low) / step))
    return min(max(rounded(value), low), distribution.high)
