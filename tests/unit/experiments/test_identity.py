"""Identity of results: the files of code that decide a training, an evaluation and a decision."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.experiments import identity
from stages.experiments.identity import code_digests, code_files, evaluation_params
from tests.helpers.project import SOURCE

DECIDING_STAGES = ("train", "evaluate", "tune")

TRAIN = {
    "stages/detector/head.py",
    "stages/detector/training.py",
    "stages/detector/training_report.py",
    "stages/detector/ultralytics.py",
    "stages/detector/weights.py",
    "stages/params/resolution.py",
}
EVALUATE = {
    "stages/data/boxes.py",
    "stages/data/contact_sheet.py",
    "stages/data/images.py",
    "stages/data/labels.py",
    "stages/detector/average_precision.py",
    "stages/detector/calibration.py",
    "stages/detector/errors.py",
    "stages/detector/evaluation.py",
    "stages/detector/cost.py",
    "stages/detector/evaluation_tables.py",
    "stages/detector/matches.py",
    "stages/detector/matching.py",
    "stages/detector/operating_point.py",
    "stages/detector/predictions.py",
    "stages/detector/sheets.py",
    "stages/detector/ultralytics.py",
}
TUNE = {
    "stages/detector/as_is.py",
    "stages/detector/matches.py",
    "stages/search/distributions.py",
    "stages/search/encoding.py",
    "stages/search/forecast.py",
    "stages/search/repeats.py",
    "stages/tracking/registry.py",
    "stages/tracking/served_model.py",
}
TUNE_FOLDERS = ("stages/decision/", "stages/report/")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of dvc.yaml and of the code, of which the identity is made instead of this checkout."""
    shutil.copytree(SOURCE / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(SOURCE / "dvc.yaml", tmp_path)
    monkeypatch.setattr(identity, "ROOT", tmp_path)
    code_digests.cache_clear()
    yield tmp_path
    code_digests.cache_clear()


def digests() -> dict[str, dict[str, str]]:
    """Return the digests of each stage as they are now: a process caches them."""
    code_digests.cache_clear()
    return {stage: dict(code_digests(stage)) for stage in DECIDING_STAGES}


def expected_stages(file: str) -> set[str]:
    stages = {"train"} if file in TRAIN else set()
    stages |= {"evaluate"} if file in EVALUATE else set()
    return stages | ({"tune"} if file in TUNE or file.startswith(TUNE_FOLDERS) else set())


def test_a_changed_file_changes_the_identity_of_the_stages_that_it_decides_and_of_no_other(root: Path) -> None:
    before = digests()
    changed = {}
    files = sorted(path for path in (root / "stages").rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        after = digests()
        path.write_bytes(content)
        changed[path.relative_to(root).as_posix()] = {stage for stage in after if after[stage] != before[stage]}
    assert len(changed) > 50
    assert changed.keys() >= TRAIN | EVALUATE | TUNE
    assert {file: stages for file, stages in changed.items() if stages != expected_stages(file)} == {}
    assert digests() == before


def test_the_entry_file_of_a_stage_decides_nothing(root: Path) -> None:
    before = digests()
    for stage in DECIDING_STAGES:
        (root / f"stages/{stage}.py").write_text("", encoding="utf-8")
    assert digests() == before


def test_the_parameters_of_an_evaluation_are_those_of_the_file_that_the_process_started_with(root: Path) -> None:
    (root / "params.yaml").write_text("evaluate: {threshold: {precision: 0.9}}\n", encoding="utf-8")
    evaluation_params.cache_clear()
    assert evaluation_params() == {"threshold": {"precision": 0.9}}
    (root / "params.yaml").write_text("evaluate: {threshold: f1}\n", encoding="utf-8")
    assert evaluation_params() == {"threshold": {"precision": 0.9}}
    evaluation_params.cache_clear()


def test_a_new_file_in_a_folder_changes_the_identity(root: Path) -> None:
    before = digests()
    (root / "stages/decision/new.py").write_text("", encoding="utf-8")
    after = digests()
    assert {stage for stage in after if after[stage] != before[stage]} == {"tune"}


def test_the_digests_of_a_process_are_those_of_the_files_that_it_started_with(root: Path) -> None:
    before = digests()["train"]
    (root / "stages/detector/training.py").write_text("", encoding="utf-8")
    assert code_digests("train") == before


def test_the_files_of_a_folder_count_one_by_one_and_with_the_entry_file(root: Path) -> None:
    assert set(code_files("train")) == {*TRAIN, "stages/train.py"}
    files = code_files("tune")
    assert {*TUNE, "stages/tune.py", "stages/decision/verdict.py", "stages/report/figures.py"} <= set(files)
    assert len(files) == len(set(files))
    assert all((root / file).is_file() for file in files)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_digest_of_a_file_or_folder_is_the_one_that_dvc_writes(root: Path) -> None:
    folder = root / "stages/report"
    for name in (
        "a.py",
        "a/b.py",
        "a-b.py",
        "é.py",
        "data.txt",
        "__pycache__/a.pyc",
        "a/__pycache__/b.pyc",
        ".DS_Store",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    shutil.copy2(SOURCE / ".dvcignore", root)
    with Repo.init(str(root), no_scm=True) as repo:
        paths = ["stages/report", "stages/decision", "stages/detector/as_is.py"]
        by_path = {
            Path(out.fs_path).relative_to(root).as_posix(): out.hash_info.value
            for stage in repo.add([str(root / path) for path in paths])
            for out in stage.outs
        }
    assert by_path == {path: digests()["tune"][path] for path in paths}
