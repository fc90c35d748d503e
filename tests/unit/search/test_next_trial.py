"""The next trial of a study: never more than the target, and no point twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from stages.search import next_trial as module
from stages.search.next_trial import next_trial
from stages.search.sampling import Exhausted, Sampler
from tests.unit.search.studies import states, study_with


def test_no_more_trials_start_than_the_target_needs() -> None:
    study = study_with(tune__trials=2)
    first, second = next_trial(study), next_trial(study)
    assert first is not None
    assert second is not None
    assert next_trial(study) is None
    study.fail(first, "not a number", "its loss was none")
    third = next_trial(study)
    assert third is not None, "a failed trial is replaced"
    study.complete(second, {"mAP50": 0.5}, 1.0)
    study.complete(third, {"mAP50": 0.5}, 1.0)
    assert next_trial(study) is None


@pytest.mark.parametrize("step", ["_describe", "_equal_trial"])
def test_a_trial_that_no_worker_got_because_the_database_broke_off_is_tried_again(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    study = study_with()
    work = getattr(module, step)
    failed: list[tuple[Any, ...]] = []

    def fail_once(*arguments: Any) -> Any:
        if not failed:
            failed.append(arguments)
            raise OperationalError("SELECT", {}, Exception("the connection was closed"))
        return work(*arguments)

    monkeypatch.setattr(module, step, fail_once)
    first, second = next_trial(study), next_trial(study)
    assert first is not None
    assert second is not None
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING]
    assert first.params == study.trials()[0].params


def test_each_point_of_a_small_space_is_tried_once() -> None:
    study = study_with(tune__space={"lr0": {"low": 0.002, "high": 0.002}, "epochs": {"low": 2, "high": 3}})
    for _ in range(2):
        assert next_trial(study) is not None
    with pytest.raises(Exhausted):
        next_trial(study)


def test_two_processes_that_ask_at_once_do_not_train_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a database without a lock across machines, the later one of two equal trials fails."""
    study, same_study = study_with(), study_with()
    first = next_trial(study)
    assert first is not None
    sample: Callable[..., dict[str, Any]] = Sampler.sample_relative
    calls = []

    def same_point_first(*arguments: Any) -> dict[str, Any]:
        calls.append(1)
        return dict(first.params) if len(calls) == 1 else sample(*arguments)

    monkeypatch.setattr(Sampler, "sample_relative", same_point_first)
    second = next_trial(same_study)
    assert second is not None
    assert second.params != first.params
    repeated = same_study.trials()[1]
    assert repeated.state == TrialState.FAIL
    assert repeated.user_attrs["reason"] == "trial 0 has the same point and was first"


def test_a_point_that_lost_some_keys_because_the_database_broke_off_gets_the_others() -> None:
    study = study_with()
    study.optuna_study.enqueue_trial({"epochs": 3, "imgsz": 128})
    trial = next_trial(study)
    assert trial is not None
    assert (trial.params["epochs"], trial.params["imgsz"]) == (3, 128)
    assert trial.params.keys() == study.space.distributions.keys()
