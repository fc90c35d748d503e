"""The study in its storage: its name, the results that it starts with, and the end of a trial."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState

from stages.base.failures import Failure
from stages.search.identity import changed_facts, identity, study_name
from stages.search.next_trial import next_trial
from stages.services import storage
from stages.services.databases import study_address
from stages.services.storage import open_storage
from tests.unit.search.studies import CONTENT, params_with, result, study_with


def test_the_storage_comes_from_the_environment_then_params_then_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://host/a")
    assert study_address("postgresql://host/b") == "postgresql://host/a"
    monkeypatch.delenv("OPTUNA_STORAGE")
    assert study_address("postgresql://host/b") == "postgresql://host/b"
    assert study_address(None).endswith("/.study/optuna.db")


@pytest.mark.parametrize("uri", ["nonsense", "nosuch://host/db", "sqlite:////proc/no/such/place.db"])
def test_an_unusable_storage_is_a_failure_of_one_line(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_STORAGE", uri)
    with pytest.raises(Failure, match="cannot be used"):
        open_storage(None)


def test_another_space_data_code_or_fixed_key_is_another_study() -> None:
    base = identity(params_with(), "data", {"a": "1"})
    space = {**CONTENT["tune"]["space"], "epochs": {"low": 2, "high": 6}}
    others = [
        identity(params_with(tune__space=space), "data", {"a": "1"}),
        identity(params_with(), "other", {"a": "1"}),
        identity(params_with(), "data", {"a": "2"}),
        identity(params_with(seed=1), "data", {"a": "1"}),
    ]
    assert len({study_name(facts) for facts in (base, *others)}) == 5
    same = identity(params_with(tune__trials=99, tune__seed=7, epochs=5, lr0=0.004), "data", {"a": "1"})
    assert study_name(same) == study_name(base), "the searched values and the number of trials are no part of it"


def test_a_new_study_names_the_facts_that_changed_since_the_newest_other_study() -> None:
    first = study_with()
    assert changed_facts(first.identity, first.storage) == []
    second = study_with(seed=1)
    assert changed_facts(second.identity, second.storage) == ["fixed"]
    limited = study_with(seed=1, tune__limits={"ms_per_image": 10, "model_mb": None, "train_seconds": None})
    assert changed_facts(limited.identity, limited.storage) == ["limits"]
    assert changed_facts(second.identity, second.storage) == ["limits"], "it has none"
    assert (second.is_new, study_with(seed=1).is_new) == (True, False)


def test_results_from_elsewhere_are_added_once_and_only_if_they_belong_to_the_study() -> None:
    study = study_with()
    trainings = [
        result("baseline-1", "baseline"),
        result("again"),  # the same point
        result("grid-1", epochs=5, imgsz=128, value=0.6),
        result("bigger", batch=8, nbs=8),  # nbs follows batch
        result("other-nbs", batch=8, nbs=64),
        result("outside", epochs=50),
        result("other-seed", seed=3),
    ]
    assert study.add_results(trainings) == {"baseline": 1, "grid": 2}
    assert study.add_results(trainings) == {}
    assert [trial.user_attrs["name"] for trial in study.trials()] == ["baseline-1", "grid-1", "bigger"]
    best = study.best()
    assert best is not None
    assert best.user_attrs["name"] == "grid-1"
    assert study.objective_at({"epochs": 5, "imgsz": 128, "lr0": 0.002, "batch": 4, "scale": 0.2}) == 0.6


def test_the_objective_at_a_point_is_0_only_after_a_failure_that_would_come_again() -> None:
    study = study_with()
    for kind, objective in (("crashed", None), ("out of memory", 0.0)):
        trial = next_trial(study)
        assert trial is not None
        study.fail(trial, kind, "a reason")
        assert study.objective_at(trial.params) == objective


def test_a_point_is_enqueued_once() -> None:
    study = study_with()
    point = study.space.point(params_with().training())
    assert point is not None
    assert study.enqueue(point)
    assert study.enqueue(point), "it still waits for its turn"
    assert len(study.trials()) == 1
    trial = next_trial(study)
    assert trial is not None
    assert trial.params == point
    assert trial.user_attrs["source"] == "enqueued"
    assert not study.enqueue(point)


def test_the_end_of_a_trial_may_be_recorded_twice_but_not_changed() -> None:
    """The answer to the first attempt may be lost with the connection."""
    study = study_with()
    trial = next_trial(study)
    assert trial is not None
    for _ in range(2):
        study.complete(trial, {"mAP50": 0.5}, 1.0)
    with pytest.raises(storage.TrialEnded):
        study.fail(trial, "lost", "its heartbeat was missing")


def test_a_trial_that_another_machine_fails_at_its_end_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop slept: the other machine is faster by the moment between the last fact and the end."""
    study = study_with()
    trial = next_trial(study)
    assert trial is not None
    tell = study.optuna_study.tell

    def late(number: int, value: float | None, state: TrialState) -> None:
        tell(number, state=TrialState.FAIL)
        tell(number, value, state)

    monkeypatch.setattr(study.optuna_study, "tell", late)
    with pytest.raises(storage.TrialEnded):
        study.complete(trial, {"mAP50": 0.5}, 1.0)


def test_the_start_is_the_point_that_is_trained() -> None:
    space = {**CONTENT["tune"]["space"], "nbs": {"choices": [4, 8]}}
    study = study_with(tune__space=space)
    assert study.space.start["nbs"] == 4, "params.yaml has `nbs: batch`"
    study.add_results([result("baseline-1", "baseline")])
    assert study.objective_at(study.space.start) is not None


def test_a_search_over_nbs_knows_what_batch_stands_for() -> None:
    space = {"nbs": {"choices": ["batch", 64]}, "batch": {"choices": [4, 8]}}
    points = study_with(tune__space=space).space
    assert points.start == {"nbs": "batch", "batch": 4}
    assert points.point(points.arguments({"nbs": "batch", "batch": 8})) == {"nbs": "batch", "batch": 8}
    assert points.point(points.arguments({"nbs": 64, "batch": 8})) == {"nbs": 64, "batch": 8}
    assert points.point({**points.arguments({"nbs": 64, "batch": 8}), "nbs": 16}) is None
