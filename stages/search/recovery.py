"""Recovery of trials whose process has ended before they did."""

from __future__ import annotations

from contextlib import suppress

from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from stages.experiments.finished import finished_training
from stages.params.space import same
from stages.search.liveness import has_ended
from stages.search.study import Study, quality
from stages.search.tables import LOST
from stages.services.storage import TrialEnded, retry, wait_for_storage


@wait_for_storage
def recover(study: Study) -> None:
    """Settle the running trials whose process has ended.

    Raises:
        Failure: The storage cannot be used.
    """
    with study.lock():
        recover_locked(study)


def recover_locked(study: Study) -> None:
    """Do the work of `recover`. The caller holds the lock of the study."""
    study.send_heartbeats()  # first: if this machine has slept, Optuna would fail the trials of this process as stale
    for trial in study.trials():
        if trial.state != TrialState.RUNNING or trial.number in study.running:
            continue
        # If this process asked for the trial but does not train it, the storage broke off in between.
        if trial.number in study.asked or has_ended(trial):
            with suppress(TrialEnded):  # another process was faster
                settle(study, trial, "lost", LOST)
    fail_stale_trials(study.optuna_study)


@wait_for_storage
def settle(study: Study, trial: Trial | FrozenTrial, kind: str, reason: str, is_machine_lost: bool = False) -> None:
    """End a trial that cannot go on.

    If its training was saved as an experiment, the trial is complete. Otherwise it fails, and its point is tried once
    more.

    Args:
        study: The study of the trial.
        trial: The trial.
        kind: The kind of failure, as in `Study.fail`.
        reason: The reason of the failure.
        is_machine_lost: Whether the machine of the worker was lost, for which the point is not to blame.

    Raises:
        TrialEnded: The trial has ended before in another state.
    """
    training = finished_training(trial.user_attrs.get("name", ""))
    if training is not None and same(study.space.point(training.arguments) or {}) == same(trial.params):
        study.complete(trial, quality(training), training.metrics.get("train_seconds", 0.0))
    else:
        study.fail(trial, kind, reason)
        retry(study.optuna_study, study.trials()[trial.number], is_machine_lost)
