"""What tests share: the real commands in a real repository, small enough to be quick."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.project import Project, make_project

for _name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_", "OPTUNA_"))]:
    del os.environ[_name]  # of whoever runs the tests with a team's services


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with whole pipelines first, so that the processes that share the tests end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository after `dvc repro`, its results committed. Not to be changed: tests take a `project`."""
    project = make_project(tmp_path_factory.mktemp("baseline") / "repository")
    project.run("dvc", "repro")
    project.commit("the baseline")
    return project


@pytest.fixture(scope="session")
def quick_baseline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As `baseline`, with the quick training."""
    project = make_project(tmp_path_factory.mktemp("quick") / "repository", quick=True)
    project.run("dvc", "repro")
    project.commit("the baseline")
    return project


@pytest.fixture
def project(baseline: Project, tmp_path: Path) -> Project:
    """A copy of the baseline's repository, for one test; its MLflow is empty."""
    return _copy(baseline, tmp_path / "repository", "mlflow.db*", "mlartifacts", ".mlflow", ".yolo")


@pytest.fixture
def quick(quick_baseline: Project, tmp_path: Path) -> Project:
    """A copy of the quick baseline's repository, for one test, with its MLflow: to make one takes seconds."""
    return _copy(quick_baseline, tmp_path / "repository", "trained.jsonl")


def _copy(project: Project, root: Path, *left: str) -> Project:
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns(*left))
    copy = Project(root, project.quick)
    copy.run("dvc", "config", "--local", "core.site_cache_dir", str(root / ".dvc" / "tmp" / "site"))
    return copy


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[..., Path]:
    """Write an image file: `photograph(name, width, height)` below the test's folder."""

    def write(name: str, width: int = 64, height: int = 48) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
        encoded, content = cv2.imencode(path.suffix, pixels)
        assert encoded
        path.write_bytes(content.tobytes())
        return path

    return write
