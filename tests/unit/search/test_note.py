"""The note of a trial on the page of Optuna's dashboard. The dashboard's own code reads it."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna_dashboard import save_note
from optuna_dashboard._note import get_note_from_system_attrs

from stages.search import study as search_study
from stages.search.next_trial import next_trial
from stages.search.study import Study
from tests.unit.search.studies import result, study_with


def notes(study: Study) -> dict[str, dict[str, Any]]:
    """Return the note of each trial by the name of the trial, as the dashboard shows it."""
    attributes = study.storage.get_study_system_attrs(study.optuna_study._study_id)
    return {
        trial.user_attrs["name"]: dict(get_note_from_system_attrs(attributes, trial._trial_id))
        for trial in study.trials()
    }


def begun(study: Study) -> optuna.Trial:
    trial = next_trial(study)
    assert trial is not None
    return trial


def test_a_complete_trial_names_its_run_and_its_experiment_and_no_other_trial_has_a_note() -> None:
    study = study_with()
    complete, pruned, failed = begun(study), begun(study), begun(study)
    study.complete(complete, {"mAP50": 0.5}, 9.0)
    pruned.report(0.1, 1)
    study.prune(pruned, 3.0)
    study.fail(failed, "crashed", "a reason")
    name = complete.user_attrs["name"]
    assert notes(study) == {
        name: {
            "version": 1,
            "body": f"MLflow: run `{name}`\n\nDVC: experiment `{name}`, taken with `dvc exp apply {name}`",
        },
        pruned.user_attrs["name"]: {"version": 0, "body": ""},
        failed.user_attrs["name"]: {"version": 0, "body": ""},
    }


def test_a_result_from_elsewhere_names_its_run_and_a_baseline_is_no_experiment() -> None:
    study = study_with()
    trainings = [result("baseline-1", "baseline"), result("grid-1", epochs=5)]
    for _ in range(2):
        study.add_results(trainings)
    assert {name: note["body"] for name, note in notes(study).items()} == {
        "baseline-1": "MLflow: run `baseline-1`",
        "grid-1": "MLflow: run `grid-1`\n\nDVC: experiment `grid-1`, taken with `dvc exp apply grid-1`",
    }
    assert {note["version"] for note in notes(study).values()} == {1}


def test_a_note_that_a_user_has_written_stays() -> None:
    study = study_with()
    trial = begun(study)
    save_note(trial, "too slow for us")
    study.complete(trial, {"mAP50": 0.5}, 9.0)
    study.add_results([])
    assert [note["body"] for note in notes(study).values()] == ["too slow for us"]


def test_trials_of_an_earlier_version_get_their_note_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with()
    with monkeypatch.context() as patch:
        patch.setattr(search_study, "note_runs", lambda *_: None)
        study.complete(begun(study), {"mAP50": 0.5}, 9.0)
    assert [note["version"] for note in notes(study).values()] == [0]
    study.add_results([])
    assert [note["version"] for note in notes(study).values()] == [1]
