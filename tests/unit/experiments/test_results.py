"""Whether results belong to a model and to parameters, and the dvc.lock that tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.base.paths import BEST_MODEL, PREPARED_DATA, TEST_MATCHES, TEST_METRICS, TRAIN_METRICS
from stages.experiments import finished, refs, results
from stages.experiments.finished import FinishedTraining, Unreadable
from stages.experiments.lock import Incomplete, edited_lock, parse_lock, read_lock
from stages.experiments.names import run_kind
from stages.experiments.results import is_evaluated, is_test_of_run, stale_reason
from stages.params.file import dumped, round_trip

CODE = {"stages/evaluator.py": hashlib.md5(b"code").hexdigest()}
EVALUATE = {"threshold": "f1"}
DATA = {"path": PREPARED_DATA, "md5": "data.dir"}


def entry(path: str, content: bytes) -> dict[str, Any]:
    """Return the entry of a file in dvc.lock."""
    return {"path": path, "md5": hashlib.md5(content).hexdigest()}


def files(**changed: bytes) -> dict[str, bytes]:
    """Return the content of the files of a run by their path; `changed` replaces some, by their key here."""
    content = {"model": b"weights", "trained": b'{"mAP50": 0.5, "step": 3}', "tested": b'{"mAP50": 0.4}'}
    content |= {"matches": b"image,class", **changed}
    paths = {"model": BEST_MODEL, "trained": TRAIN_METRICS, "tested": TEST_METRICS, "matches": TEST_MATCHES}
    return {paths[key]: value for key, value in content.items()}


def lock_text(evaluated: bytes = b"weights", figures: int = 1) -> str:
    """Return the dvc.lock of the run of `files`, whose evaluation has read the model `evaluated`."""
    run = files()
    params = {"params.yaml": {"epochs": 3}}
    trained = [entry(path, run[path]) for path in (BEST_MODEL, TRAIN_METRICS)]
    code = [{"path": path, "md5": digest} for path, digest in CODE.items()]
    stages = {
        "prepare": {"outs": [DATA]},
        "train": {"deps": [DATA], "params": params, "outs": trained},
        "evaluate": {
            "deps": [DATA, entry(BEST_MODEL, evaluated), *code],
            "params": {"params.yaml": {"imgsz": 64, "evaluate": EVALUATE}},
            "outs": [entry(path, run[path]) for path in (TEST_MATCHES, TEST_METRICS)],
        },
        "tune": {"outs": [{"path": "reports/figures", "md5": "figures.dir", "nfiles": figures}]},
    }
    return dumped(round_trip(), {"schema": "2.0", "stages": stages})


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "code_digests", lambda stage: CODE)
    monkeypatch.setattr(results, "evaluation_params", lambda: EVALUATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a complete run."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "evaluator.py").write_bytes(b"code")
    (tmp_path / "params.yaml").write_text("epochs: 3\nimgsz: 64\nevaluate: {threshold: f1}\n", encoding="utf-8")
    (tmp_path / "dvc.lock").write_text(lock_text(), encoding="utf-8")
    write(tmp_path, files())
    return tmp_path


def write(folder: Path, content: Mapping[str, bytes]) -> None:
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def test_a_complete_run_is_not_stale_and_is_evaluated(folder: Path) -> None:
    assert stale_reason(folder) == ""
    assert is_evaluated(folder)


def test_a_changed_parameter_makes_the_results_stale(folder: Path) -> None:
    (folder / "params.yaml").write_text("epochs: 4\nimgsz: 64\nevaluate: {threshold: f1}\n", encoding="utf-8")
    assert stale_reason(folder) == "epochs in params.yaml was changed since the last run"
    assert is_evaluated(folder), "the evaluation does not depend on epochs"
    (folder / "params.yaml").write_text("epochs: 3\nimgsz: 96\nevaluate: {threshold: f1}\n", encoding="utf-8")
    assert stale_reason(folder) == "imgsz in params.yaml was changed since the last run"
    assert not is_evaluated(folder)
    changed = "epochs: 3\nimgsz: 64\nevaluate: {threshold: {recall: 0.9}}\n"
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
    assert stale_reason(folder) == "evaluate in params.yaml was changed since the last run"
    assert not is_evaluated(folder)


@pytest.mark.parametrize("path", [TRAIN_METRICS, TEST_METRICS])
def test_other_metrics_are_stale(folder: Path, path: str) -> None:
    (folder / path).write_text("{}", encoding="utf-8")
    assert stale_reason(folder) == f"{path} is not the one of the last run"


@pytest.mark.parametrize("path", [BEST_MODEL, TEST_METRICS, "stages/evaluator.py"])
def test_another_model_or_other_code_or_a_missing_file_is_not_evaluated(folder: Path, path: str) -> None:
    (folder / path).unlink()
    assert not is_evaluated(folder)


def test_a_folder_without_dvc_lock_is_incomplete(folder: Path) -> None:
    (folder / "dvc.lock").unlink()
    assert not is_evaluated(folder)
    with pytest.raises(Incomplete, match=r"dvc\.lock: No such file"):
        stale_reason(folder)
    (folder / "dvc.lock").write_text("stages", encoding="utf-8")
    with pytest.raises(Incomplete, match=r"dvc\.lock: not a dvc\.lock"):
        read_lock(folder)


def test_test_metrics_belong_to_the_model_that_was_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_test_of_run(parse_lock(lock_text()))
    assert not is_test_of_run(parse_lock(lock_text(evaluated=b"the model before")))
    assert not is_test_of_run(parse_lock(edited_lock(lock_text(), {}, keep=("prepare", "train"))))
    with monkeypatch.context() as other:
        other.setattr(results, "evaluation_params", lambda: {"threshold": {"precision": 0.9}})
        assert not is_test_of_run(parse_lock(lock_text())), "another operating point was asked for"
    monkeypatch.setattr(results, "code_digests", lambda stage: {"stages/evaluator.py": "other"})
    assert not is_test_of_run(parse_lock(lock_text()))


@pytest.mark.parametrize(
    ("experiment", "figures", "kind"),
    [
        (None, 6, "baseline"),
        ("murky-beth", 1, "grid"),
        ("murky-beth", 6, "tuned"),
        ("tune-0a1b2c-007", 6, "trial"),
        ("confirm-0a1b2c-s3", 1, "confirmation"),
    ],
)
def test_the_kind_of_a_run_follows_from_its_name_and_its_figures(
    experiment: str | None, figures: int, kind: str
) -> None:
    assert run_kind(experiment, figures) == kind


def saved(monkeypatch: pytest.MonkeyPatch, lock: str, content: Mapping[str, bytes]) -> FinishedTraining | None:
    """Return the training of an experiment with these files."""
    paths = (TRAIN_METRICS, TEST_METRICS, "no curve", TEST_MATCHES)
    run = finished._Files(lock.encode(), *(content.get(path) for path in paths))
    monkeypatch.setattr(refs, "experiments", lambda: {"murky-beth": ("revision", "start")})
    monkeypatch.setattr(finished, "_files_of", lambda revisions: iter([run]))
    return finished.finished_training("murky-beth")


def test_a_finished_training_has_its_metrics_and_those_of_the_test_of_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = FinishedTraining(
        "murky-beth", "grid", {"epochs": 3}, {"mAP50": 0.5, "step": 3.0}, {"mAP50": 0.4}, (), "image,class"
    )
    assert saved(monkeypatch, lock_text(), files()) == expected
    tuned = saved(monkeypatch, lock_text(figures=6), files())
    assert tuned is not None
    assert tuned.source == "tuned"
    for lock, content in (
        (lock_text(evaluated=b"the model before"), files()),
        (lock_text(), files(tested=b'{"mAP50": 0.9}')),
        (lock_text(), {TRAIN_METRICS: files()[TRAIN_METRICS]}),
    ):
        training = saved(monkeypatch, lock, content)
        assert training is not None
        assert (training.tested, training.matches) == ({}, "")


def test_predictions_of_images_that_are_missing_or_not_those_of_the_evaluation_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = {path: content for path, content in files().items() if path != TEST_MATCHES}
    for content in (files(matches=b"image,other"), older):
        training = saved(monkeypatch, lock_text(), content)
        assert training is not None
        assert (training.tested, training.matches) == ({"mAP50": 0.4}, "")


def test_metrics_of_another_run_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved(monkeypatch, lock_text(), files(trained=json.dumps({"mAP50": 0.9}).encode())) is None
    assert saved(monkeypatch, "stages", files()) is None
    with pytest.raises(Unreadable, match="is damaged or of another form"):
        finished._read("run", "", finished._Files(b"stages", b"{}", None), {})
    with pytest.raises(Unreadable, match=r"it has no dvc\.lock"):
        finished._read("run", "", finished._Files(None, b"{}", None), {})
    assert finished._read("run", "", finished._Files(lock_text().encode(), files()[TRAIN_METRICS], None), CODE) is None


def test_numbers_and_texts_of_a_lock_are_those_of_yaml_1_2() -> None:
    text = "stages: {a: 1e-05, b: yes, c: 1:30, d: -3, e: null, f: true, g: 0.5, h: '7', i: 2020-01-01, j: 1.0}"
    assert parse_lock(text) == {
        "a": 1e-05, "b": "yes", "c": "1:30", "d": -3, "e": None, "f": True, "g": 0.5, "h": "7", "i": "2020-01-01",
        "j": 1.0,
    }  # fmt: skip
