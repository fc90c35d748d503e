"""A study in MLflow: the run of the study and those of its trials have the data set, live and when made later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.search.next_trial import next_trial
from stages.search.study import Study
from stages.tracking import missed
from stages.tracking import store as tracking_store
from stages.tracking.store import Store
from stages.tracking.study_mirror import StudyMirror, Subject, catch_up
from tests.unit.search.studies import study_with


@pytest.fixture
def target(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copyfile(empty_mlflow, tmp_path / "mlflow.db")
    for module in (tracking_store, missed):
        monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.setattr(tracking_store, "main_root", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Store()


def datasets(target: Store) -> dict[str, list[tuple[str, str]]]:
    """Return the name and the digest of each data set of each run, by the name of the run."""
    runs: list[Any] = list(target.client.search_runs([target.experiment]))
    return {
        run.info.run_name: [(given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs]
        for run in runs
    }


def expected(study: Study) -> dict[str, list[tuple[str, str]]]:
    names = [study.name, *(trial.user_attrs["name"] for trial in study.trials())]
    return {name: [("data/prepared", study.identity["data"])] for name in names}


def test_the_runs_of_a_study_have_the_data_set_from_their_start_and_keep_one(target: Store) -> None:
    study = study_with()
    mirror = StudyMirror(Subject(study.name, study.identity), study.lock)
    complete, pruned = next_trial(study), next_trial(study)
    assert complete is not None
    assert pruned is not None
    for trial in (complete, pruned):
        mirror.begin(study.trials()[trial.number])
        mirror.epoch(trial.user_attrs["name"], 1, {"mAP50": 0.3})
        study.report(trial, 1, 0.3)
    study.complete(complete, {"mAP50": 0.5}, 9.0)
    study.prune(pruned, 3.0)
    mirror.finished(study.trials()[complete.number])  # the other one is left to the end
    mirror.close(study.trials(), {}, "FINISHED")
    assert datasets(target) == expected(study)
    run = target.find(study.name)
    assert run is not None
    target.client.set_terminated(run.info.run_id, "KILLED", end_time=1000)
    assert catch_up(target, Subject(study.name, study.identity), study.trials(), {}) == 0
    assert datasets(target) == expected(study)
    later = target.find(study.name)
    assert later is not None
    assert (later.info.status, later.info.end_time) == ("KILLED", 1000), "a run that lacks nothing stays as it is"


def test_a_study_that_is_mirrored_later_has_the_data_set_too(target: Store) -> None:
    study = study_with()
    trial = next_trial(study)
    assert trial is not None
    study.complete(trial, {"mAP50": 0.5}, 9.0)
    assert catch_up(target, Subject(study.name, study.identity), study.trials(), {}) == 1
    assert datasets(target) == expected(study)
