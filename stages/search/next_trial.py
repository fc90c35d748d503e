"""The next trial of a study: at a new point, with a name of its own, and counted against the target."""

from __future__ import annotations

import time
from collections.abc import Iterable

from optuna.trial import FrozenTrial, Trial, TrialState

from stages.base.git import commit
from stages.experiments import refs
from stages.experiments.names import trial_name
from stages.params.space import same
from stages.search.convergence import check_convergence
from stages.search.distributions import untried
from stages.search.liveness import process_name
from stages.search.recovery import recover_locked
from stages.search.sampling import Exhausted
from stages.search.study import PERMANENT, Study, fixed_key
from stages.services.storage import FINISHED, wait_for_storage


@wait_for_storage
def next_trial(study: Study) -> Trial | None:
    """Return the next trial to train, or None if the finished and the running trials reach the target.

    Raises:
        Exhausted: Every point of the space has been tried.
        Converged: Further trials can hardly gain anything beside the noise between seeds.
        Failure: The storage cannot be used.
    """
    while True:
        with study.lock():
            recover_locked(study)
            trial = ask(study)
            if trial is None:
                return None
            _describe(study, trial)
            study.storage.record_heartbeat(trial._trial_id)
        equal = _equal_trial(study, trial)
        if equal is None:
            study.running[trial.number] = trial
            return trial
        study.fail(trial, "repeated", f"trial {equal} has the same point and was first")


def ask(study: Study) -> Trial | None:
    """Ask the sampler for a trial, as `next_trial` does. The caller holds the lock of the study."""
    trials = study.trials()
    if sum(trial.state in (*FINISHED, TrialState.RUNNING) for trial in trials) >= study.target:
        return None
    _exclude_points(study, trials)
    if not any(trial.state == TrialState.WAITING for trial in trials):
        if untried(study.space.distributions, study.excluded) == []:
            raise Exhausted
        check_convergence(trials, study.patience, study.noise)
    trial = study.optuna_study.ask(fixed_distributions=dict(study.space.distributions))
    study.asked.add(trial.number)
    trial.set_user_attr("epochs", study.space.arguments(trial.params)["epochs"])
    if "source" not in trial.user_attrs:
        trial.set_user_attr("source", "sampler")
    return trial


def _exclude_points(study: Study, trials: Iterable[FrozenTrial]) -> None:
    """Exclude every point with a trial, but for those whose failure may not come again."""
    study.excluded.clear()
    for trial in trials:
        is_final = trial.user_attrs.get("kind") in PERMANENT or "retry_of" in trial.user_attrs
        if trial.state != TrialState.FAIL or is_final:
            study.excluded.add(fixed_key(trial))


def _describe(study: Study, trial: Trial) -> None:
    facts = {"name": _unused_name(study, trial.number), "owner": process_name(), "commit": commit()}
    for key, value in facts.items():
        trial.set_user_attr(key, value)


def _unused_name(study: Study, number: int) -> str:
    """Return a name for a trial that no experiment has: the same study in another storage may have used the first."""
    used = refs.experiments()
    while trial_name(study.name, number) in used:
        number += 1000
    return trial_name(study.name, number)


def _equal_trial(study: Study, trial: Trial) -> int | None:
    """Return the number of another trial at the same point that is finished, or is running and began before."""
    for other in _described_trials(study, trial.number):
        if other.number != trial.number and same(other.params) == same(trial.params):
            is_first = other.state == TrialState.RUNNING and other.number < trial.number
            if is_first or other.state in FINISHED:
                return other.number
    return None


def _described_trials(study: Study, number: int) -> list[FrozenTrial]:
    """Return all trials as soon as the running trials before this number are described, or after 5 seconds.

    A process writes the point of a trial after the trial itself, and describes it last.
    """
    deadline = time.monotonic() + 5
    while True:
        trials = study.trials()
        earlier = (trial for trial in trials[:number] if trial.state == TrialState.RUNNING)
        if all("owner" in trial.user_attrs for trial in earlier) or time.monotonic() > deadline:
            return trials
        time.sleep(0.1)
