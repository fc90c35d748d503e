"""The study in its storage: what it is named after, what it knows from the start, what becomes of lost trials."""

from __future__ import annotations

import copy
import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

from stages.base import paths
from stages.base.failures import Failure
from stages.experiments.finished import Measured
from stages.params import file as params_file
from stages.params.schema import Params
from stages.search import liveness
from stages.search import study as study_module
from stages.search.sampling import Exhausted, Sampler
from stages.search.study import Study, identity, name_of
from stages.search.tables import history, table
from stages.services import storage
from stages.services.databases import study_address
from stages.services.storage import open_storage
from tests.helpers.project import SOURCE

GIVEN = params_file.read(SOURCE / "params.yaml")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (storage, paths):
        monkeypatch.setattr(module, "STUDIES", tmp_path)
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")


def given(**changes: Any) -> Params:
    """params.yaml with other values; `tune__trials` is one of a group."""
    content = copy.deepcopy(GIVEN)
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (content[group] if group else content)[name] = value
    return params_file.validate(content)


def study_with(content: Params) -> Study:
    return Study(content, identity(content, "data", {"stages/train.py": "1"}), open_storage(None))


def measured(name: str = "a-run", source: str = "grid", value: float = 0.5, **changes: Any) -> Measured:
    metrics = {"mAP50": value, "recall": 0.4, "train_seconds": 9.0, "step": 4.0}
    return Measured(name, source, {**given().training(), **changes}, metrics)


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.trials()]


def test_the_storage_is_what_the_environment_says_then_params_then_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://host/a")
    assert study_address("postgresql://host/b") == "postgresql://host/a"
    monkeypatch.delenv("OPTUNA_STORAGE")
    assert study_address("postgresql://host/b") == "postgresql://host/b"
    assert study_address(None).endswith("/.study/optuna.db")


@pytest.mark.parametrize("uri", ["nonsense", "nosuch://host/db", "sqlite:////proc/no/such/place.db"])
def test_a_storage_that_cannot_be_had_is_one_line(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", uri)
    with pytest.raises(Failure, match="cannot be used"):
        open_storage(None)


def test_another_space_data_code_or_fixed_key_is_another_study() -> None:
    base = identity(given(), "data", {"a": "1"})
    space = {**GIVEN["tune"]["space"], "epochs": {"low": 2, "high": 6}}
    others = [
        identity(given(tune__space=space), "data", {"a": "1"}),
        identity(given(), "other", {"a": "1"}),
        identity(given(), "data", {"a": "2"}),
        identity(given(seed=1), "data", {"a": "1"}),
    ]
    assert len({name_of(one) for one in (base, *others)}) == 5
    same = identity(given(tune__trials=99, tune__seed=7, epochs=5, lr0=0.004), "data", {"a": "1"})
    assert name_of(same) == name_of(base), "what is searched, and how long, is no part of it"


def test_what_was_measured_is_taken_in_once_and_only_where_it_belongs() -> None:
    study = study_with(given())
    found = [
        measured("baseline-1", "baseline"),
        measured("again"),  # the same point
        measured("grid-1", epochs=5, imgsz=128, value=0.6),
        measured("bigger", batch=8, nbs=8),  # nbs follows batch
        measured("other-nbs", batch=8, nbs=64),
        measured("outside", epochs=50),
        measured("other-seed", seed=3),
    ]
    assert study.take_in(found) == {"baseline": 1, "grid": 2}
    assert study.take_in(found) == {}
    assert [trial.user_attrs["name"] for trial in study.trials()] == ["baseline-1", "grid-1", "bigger"]
    best = study.best()
    assert best is not None
    assert best.user_attrs["name"] == "grid-1"
    assert study.value({"epochs": 5, "imgsz": 128, "lr0": 0.002, "batch": 4, "scale": 0.2}) == 0.6


def test_a_point_is_asked_for_once() -> None:
    study = study_with(given())
    point = study.point(given().training())
    assert point is not None
    assert study.enqueue(point)
    assert not study.enqueue(point)
    trial = study.ask()
    assert trial is not None
    assert trial.params == point
    assert trial.user_attrs["source"] == "enqueued"


def test_no_more_trials_are_begun_than_are_wanted() -> None:
    study = study_with(given(tune__trials=2))
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    assert study.ask() is None
    study.fail(first, "not a number", "its loss was none")
    third = study.ask()
    assert third is not None, "a failed trial is replaced"
    study.complete(second, {"mAP50": 0.5}, 1.0)
    study.complete(third, {"mAP50": 0.5}, 1.0)
    assert study.ask() is None


def begun(study: Study, owner: str) -> FrozenTrial:
    """A trial that another process has begun."""
    trial = study.ask()
    assert trial is not None
    trial.set_user_attr("owner", owner)
    study._mine.clear()
    study._asked.clear()
    return study.trials()[trial.number]


def test_a_trial_of_a_dead_process_is_failed_and_tried_once_more() -> None:
    study = study_with(given())
    lost = begun(study, f"{liveness.machine_name()}/{2**22 + 1}/0")
    study.recover()
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    again = begun(study, f"{liveness.machine_name()}/{2**22 + 1}/0")
    assert again.params == lost.params
    assert again.user_attrs["retry_of"] == lost.number
    study.recover()
    assert states(study) == [TrialState.FAIL, TrialState.FAIL], "it is tried once more, not for ever"


def test_a_trial_that_was_saved_before_the_kill_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with(given())
    lost = begun(study, f"{liveness.machine_name()}/{2**22 + 1}/0")
    one = Measured(lost.user_attrs["name"], "trial", study.arguments(lost.params), {"mAP50": 0.7, "step": 4.0})
    monkeypatch.setattr(study_module, "saved", {one.name: one}.get)
    study.recover()
    (trial,) = study.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.7)
    assert trial.user_attrs["metrics"] == {"mAP50": 0.7}


def test_an_experiment_of_another_point_is_not_taken_for_a_lost_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with(given())
    lost = begun(study, f"{liveness.machine_name()}/{2**22 + 1}/0")
    other = study.arguments({**lost.params, "lr0": 0.0049})
    monkeypatch.setattr(study_module, "saved", lambda name: Measured(name, "trial", other, {"mAP50": 0.7}))
    study.recover()
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("whose", ["of this process", "of another machine", "not told yet"])
def test_a_trial_of_a_living_process_or_another_machine_is_left_alone(whose: str) -> None:
    study = study_with(given())
    whose_is = {"of this process": liveness.myself(), "of another machine": "another/1/0", "not told yet": ""}
    begun(study, whose_is[whose])
    study.recover()
    assert states(study) == [TrialState.RUNNING]


def test_a_trial_that_never_named_its_process_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the first two writes to the storage, it has no heartbeat either."""
    study = study_with(given())
    begun(study, "")
    monkeypatch.setattr(storage, "GRACE", -1)
    study.recover()
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("after", ["_describe", "_tried_before"])
def test_what_was_asked_for_when_the_database_went_away_is_asked_for_again(
    after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun and described, but never given to a worker: nobody may wait for it."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    study = study_with(given())
    work = getattr(study, after)
    failed: list[tuple[Any, ...]] = []

    def away_once(*arguments: Any) -> Any:
        if not failed:
            failed.append(arguments)
            raise OperationalError("SELECT", {}, Exception("the connection was closed"))
        return work(*arguments)

    monkeypatch.setattr(study, after, away_once)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING]
    assert first.params == study.trials()[0].params


def test_what_came_of_a_trial_may_be_told_twice_but_not_changed() -> None:
    """The answer to the first time may be lost with the connection."""
    study = study_with(given())
    trial = study.ask()
    assert trial is not None
    for _ in range(2):
        study.complete(trial, {"mAP50": 0.5}, 1.0)
    with pytest.raises(storage.GivenUp):
        study.fail(trial, "lost", "taken for dead")


def test_a_machine_that_slept_does_not_take_its_own_trials_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the grace period without a heartbeat, and the next thing that happens is a free worker."""
    study = study_with(given())
    trial = study.ask()
    assert trial is not None
    with study._storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    assert study.ask() is not None
    assert states(study) == [TrialState.RUNNING, TrialState.RUNNING]


def test_a_point_without_room_for_a_choice_is_tried_once() -> None:
    content = given(tune__space={"lr0": {"low": 0.002, "high": 0.002}, "epochs": {"low": 2, "high": 3}})
    study = study_with(content)
    for _ in range(2):
        assert study.ask() is not None
    with pytest.raises(Exhausted):
        study.ask()


def test_two_that_ask_at_once_do_not_train_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines share no lock: the later of two equal trials gives way."""
    one, other = study_with(given()), study_with(given())
    first = one.ask()
    assert first is not None
    sample: Callable[..., dict[str, Any]] = Sampler.sample_relative
    asked = []

    def same_point_first(*arguments: Any) -> dict[str, Any]:
        asked.append(1)
        return dict(first.params) if len(asked) == 1 else sample(*arguments)

    monkeypatch.setattr(Sampler, "sample_relative", same_point_first)
    second = other.ask()
    assert second is not None
    assert second.params != first.params
    repeated = other.trials()[1]
    assert repeated.state == TrialState.FAIL
    assert repeated.user_attrs["reason"] == "the point of trial 0, which was there first"


def test_the_tables_tell_every_trial_and_the_history_the_finished_ones() -> None:
    study = study_with(given())
    study.take_in([measured("baseline-1", "baseline", 0.5)])
    for metrics in ({"mAP50": 0.4}, {"mAP50": 0.6}):
        trial = study.ask()
        assert trial is not None
        study.complete(trial, metrics, 12.34)
    pruned, failed = study.ask(), study.ask()
    assert pruned is not None
    assert failed is not None
    study.report(pruned, 1, 0.1)
    study.prune(pruned, 3.0)
    study.fail(failed, "out of memory", "too\nmuch")
    rows = list(csv.DictReader(io.StringIO(table(study.trials(), list(study.distributions)))))
    assert [row["state"] for row in rows] == ["complete", "complete", "complete", "pruned", "fail"]
    assert [row["source"] for row in rows] == ["baseline", *["sampler"] * 4]
    assert [row["mAP50"] for row in rows] == ["0.5", "0.4", "0.6", "0.1", ""]
    assert [row["best"] for row in rows] == ["0.5", "0.5", "0.6", "0.6", "0.6"]
    assert rows[1]["name"] == f"{study.name}-001"
    assert rows[3]["epochs_trained"] == "1"
    assert rows[4]["reason"] == "too much"
    assert history(study.trials()).splitlines() == [
        "number,mAP50,best",
        "0,0.5,0.5",
        "1,0.4,0.5",
        "2,0.6,0.6",
        "3,0.1,0.6",
    ]
    summary = study.summary()
    assert summary["trials"] == {"complete": 3, "pruned": 1, "fail": 1}
    assert summary["start"]["mAP50"] == 0.5
    assert summary["best"]["mAP50"] == 0.6
