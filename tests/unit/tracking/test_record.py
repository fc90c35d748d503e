"""The record of a run that MLflow takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.base.paths import BEST_MODEL
from stages.params.file import round_trip
from stages.tracking.record import Record, record
from tests.helpers.project import SOURCE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the last run of this checkout."""
    for name in ("params.yaml", "dvc.lock"):
        shutil.copyfile(SOURCE / name, tmp_path / name)
    shutil.copytree(SOURCE / "reports", tmp_path / "reports", ignore=shutil.ignore_patterns("example"))
    evaluate_model(tmp_path, None)
    return tmp_path


def evaluate_model(folder: Path, digest: str | None) -> None:
    """Let stage evaluate have read this model; None is the one that stage train has written."""
    yaml, path = round_trip(), folder / "dvc.lock"
    content = yaml.load(path.read_text(encoding="utf-8"))
    (trained,) = [out for out in content["stages"]["train"]["outs"] if out["path"] == BEST_MODEL]
    (read,) = [dep for dep in content["stages"]["evaluate"]["deps"] if dep["path"] == BEST_MODEL]
    read["md5"] = digest or trained["md5"]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def recorded(folder: Path, stage: str = "") -> Record:
    return record(folder, "a-run", "0" * 40, "a-run", None, running_stage=stage)


def has_test(run: Record) -> bool:
    files = any(path.startswith("reports/evaluate/") for path in run.files)
    assert files == (("test/mAP50", 0) in run.points)
    return files


def test_the_test_metrics_of_another_model_do_not_belong_to_a_run(folder: Path) -> None:
    """`dvc exp run train` makes another model, and leaves the test metrics of the model before it."""
    assert has_test(recorded(folder))
    evaluate_model(folder, "0" * 32)
    run = recorded(folder)
    assert not has_test(run)
    assert ("val/mAP50", 0) in run.points
    assert has_test(recorded(folder, "evaluate")), "this stage has just measured the model, before DVC writes dvc.lock"
