"""Pruners: they stop a trial that will hardly become the best."""

from __future__ import annotations

import math
import statistics

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm

from stages.search.curves import observations, trainings
from stages.search.distributions import Distributions
from stages.search.encoding import Encoding
from stages.search.forecast import Forecast

HOPE = 0.03  # the least probability of ending as the best with which a trial goes on
STARTUP = 5  # complete trials before the median counts


class ForecastPruner(BasePruner):
    """Stop a trial that will become the best with a probability under HOPE.

    The probability is that of a forecast from all curves of the study and from the trial's own. So this pruner works
    from the first complete trial on, also between trainings of different lengths.
    """

    def __init__(self, distributions: Distributions) -> None:
        """Create the pruner of a search space."""
        self._encoding = Encoding(distributions)
        self._likely: tuple[int, NDArray[np.int64] | None] = (0, None)  # the number of ended trainings, draws

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step >= trial.user_attrs["epochs"]:
            return False
        curves = trainings(study.get_trials(deepcopy=False), self._encoding)
        best = max((training.end or 0.0 for training in curves if training.may_be_best), default=None)
        if best is None:
            return False
        observed = observations(curves, len(self._encoding.keys))
        ended = sum(not training.is_running for training in curves)
        among = self._likely[1] if self._likely[0] == ended else None  # an epoch does not change the draws much
        forecast = Forecast(observed, self._encoding.is_category, among)
        self._likely = (ended, forecast.likely)
        mean, deviation = forecast.at(self._encoding.row(trial.params)[None])
        spread = math.hypot(deviation[0], forecast.noise)  # of the result, not of the level of its setting
        return bool(norm.sf((best - mean[0]) / spread) < HOPE)


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
            if not other.intermediate_values:  # a result from outside the study, without a curve
                continue
            last = math.floor(share * other.user_attrs["epochs"] + 1e-9)
            reported = [value for epoch, value in other.intermediate_values.items() if epoch <= last]
            if reported:
                others.append(max(reported))
        if len(others) < STARTUP:
            return False
        return max(trial.intermediate_values.values()) < statistics.median(others)


def pruner(kind: str, distributions: Distributions, epochs: int) -> BasePruner:
    """Return the pruner of a study.

    Args:
        kind: `forecast`, `median`, `hyperband` or `none`.
        distributions: The search space.
        epochs: The number of epochs in params.yaml, from which Hyperband makes its brackets.
    """
    if kind == "forecast":
        return ForecastPruner(distributions)
    if kind == "median":
        return MedianPruner()
    return HyperbandPruner(min_resource=1, max_resource=epochs) if kind == "hyperband" else NopPruner()
