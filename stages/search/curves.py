"""The curves of a study's trainings: what they have reached at which share of their epochs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from stages.search.encoding import Encoding, Floats
from stages.search.forecast import MAX_OBSERVED, Observations
from stages.services.storage import broken_limits

PARTS = 2  # values before its end that a training adds to a forecast: more of them cost time and say little more
MAX_TRAININGS = MAX_OBSERVED // (PARTS + 1)


@dataclass(frozen=True, eq=False)  # a row has no single truth value
class Training:
    """A training of a study.

    Attributes:
        row: Its setting, as `Encoding.row` returns it.
        epochs: The number of epochs that it has, or would have had.
        curve: The objective after each epoch so far.
        end: The objective of the trained model; None if the training was stopped, or still runs.
        is_running: Whether it still runs.
        keeps_limits: Whether it keeps the limits of the study; true while this is not known.
    """

    row: Floats
    epochs: int
    curve: tuple[float, ...]
    end: float | None
    is_running: bool = False
    keeps_limits: bool = True

    @property
    def may_be_best(self) -> bool:
        return self.end is not None and self.keeps_limits

    def parts(self) -> list[tuple[float, float]]:
        """Return some shares of the training, over 0 to 1, each with the objective there."""
        shares = [((epoch + 1) / self.epochs, value) for epoch, value in enumerate(self.curve[: self.epochs])]
        before_end = [(share, value) for share, value in shares if share < 1]
        if self.end is None:
            return before_end[-PARTS:]
        chosen = {round(len(before_end) * (part + 1) / (PARTS + 1)) for part in range(PARTS)}
        return [before_end[index] for index in sorted(chosen) if index < len(before_end)] + [(1.0, self.end)]


def trainings(trials: Iterable[FrozenTrial], encoding: Encoding) -> list[Training]:
    """Return the trainings of the complete, pruned and running trials that say what they train.

    Of more than MAX_TRAININGS that have ended, these are the best and the newest. Those that run come in addition.
    """
    result = []
    for trial in trials:
        if trial.state in (TrialState.WAITING, TrialState.FAIL) or not encoding.is_complete(trial.params):
            continue
        curve = tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values))
        end = trial.value if trial.state == TrialState.COMPLETE else None
        epochs = trial.user_attrs.get("epochs", max(len(curve), 1))
        is_running = trial.state == TrialState.RUNNING
        result.append(Training(encoding.row(trial.params), epochs, curve, end, is_running, not broken_limits(trial)))
    running = [training for training in result if training.is_running]
    ended = [training for training in result if not training.is_running]
    if len(ended) <= MAX_TRAININGS:
        return result
    best = sorted(ended, key=lambda training: (training.may_be_best, training.end or 0.0))[-MAX_TRAININGS // 2 :]
    newest = [training for training in ended if training not in best][-MAX_TRAININGS // 2 :]
    return best + newest + running


def observations(trainings: Sequence[Training], keys: int) -> Observations:
    """Return what trainings have reached as observations of a forecast.

    Args:
        trainings: Any number of trainings.
        keys: The number of searched keys.
    """
    measured = [(training.row, share, value) for training in trainings for share, value in training.parts()]
    rows = np.array([row for row, _, _ in measured]).reshape(-1, keys)
    return Observations(rows, np.array([at for _, at, _ in measured]), np.array([value for _, _, value in measured]))
