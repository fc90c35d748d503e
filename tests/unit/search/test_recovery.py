"""Recovery of trials whose process has ended, and of no others."""

from __future__ import annotations

import pytest
from optuna.trial import FrozenTrial, TrialState

from stages.experiments.finished import FinishedTraining
from stages.search import liveness, recovery
from stages.search.next_trial import next_trial
from stages.search.recovery import recover
from stages.search.study import Study
from stages.services import storage
from tests.unit.search.studies import states, study_with


def trial_of(process: str, study: Study) -> FrozenTrial:
    """Return a trial that another process has begun."""
    trial = next_trial(study)
    assert trial is not None
    trial.set_user_attr("owner", process)
    study.running.clear()
    study.asked.clear()
    return study.trials()[trial.number]


def dead_process() -> str:
    return f"{liveness.machine_name()}/{2**22 + 1}/0"


def test_a_trial_of_a_dead_process_fails_and_is_tried_once_more() -> None:
    study = study_with()
    lost = trial_of(dead_process(), study)
    recover(study)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    again = trial_of(dead_process(), study)
    assert again.params == lost.params
    assert again.user_attrs["retry_of"] == lost.number
    recover(study)
    assert states(study) == [TrialState.FAIL, TrialState.FAIL], "it is tried once more, not for ever"


def test_a_trial_that_was_saved_before_the_kill_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with()
    lost = trial_of(dead_process(), study)
    arguments = study.space.arguments(lost.params)
    training = FinishedTraining(lost.user_attrs["name"], "trial", arguments, {"mAP50": 0.7, "step": 4.0})
    monkeypatch.setattr(recovery, "finished_training", {training.name: training}.get)
    recover(study)
    (trial,) = study.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.7)
    assert trial.user_attrs["metrics"] == {"mAP50": 0.7}


def test_an_experiment_of_another_point_does_not_complete_a_lost_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with()
    lost = trial_of(dead_process(), study)
    arguments = study.space.arguments({**lost.params, "lr0": 0.0049})
    other = FinishedTraining(lost.user_attrs["name"], "trial", arguments, {"mAP50": 0.7})
    monkeypatch.setattr(recovery, "finished_training", {other.name: other}.get)
    recover(study)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("process", ["of this test", "of another machine", "not named yet"])
def test_a_trial_of_a_living_process_or_another_machine_goes_on(process: str) -> None:
    study = study_with()
    names = {"of this test": liveness.process_name(), "of another machine": "another/1/0", "not named yet": ""}
    trial_of(names[process], study)
    recover(study)
    assert states(study) == [TrialState.RUNNING]


def test_a_trial_that_never_named_its_process_fails_after_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its process was killed between the first two writes to the storage, it has no heartbeat either."""
    study = study_with()
    trial_of("", study)
    monkeypatch.setattr(storage, "GRACE", -1)
    recover(study)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]


def test_a_machine_that_slept_does_not_fail_its_own_trials() -> None:
    """It sent no heartbeat for longer than the grace period, and then a worker needs a trial."""
    study = study_with()
    assert next_trial(study) is not None
    with study.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    assert next_trial(study) is not None
    assert states(study) == [TrialState.RUNNING, TrialState.RUNNING]
