"""What tests share: the real commands in a real repository, small enough to be quick."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from stages.base import environment
from tests.helpers.files import Mount
from tests.helpers.project import Project, copied, empty_home, make_project

for _name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_", "OPTUNA_", "PGPASSWORD", "RAY_"))]:
    del os.environ[_name]  # of whoever runs the tests with a team's services
# Two processes share the tests. If the threads of a training spin while they wait, they take the cores from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most whole pipelines first: the processes that share the files end at about the same time."""
    slow = Counter(
        item.path for item in items if item.get_closest_marker("slow") and not item.get_closest_marker("long")
    )
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _no_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command in the process of the tests read the .env of whoever runs them."""
    monkeypatch.setattr(environment, "FILE", ".env.of-no-test")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system in memory, with these options. It needs Linux, and root with the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system is mounted on Linux only, by root with the right to mount")
        return folder

    yield mounted
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository after `dvc repro`, its results committed. Not to be changed: tests take a `project`.

    Its parent has the folder `home`, which was the user's home during the run.
    """

    def make(folder: Path) -> None:
        project = make_project(folder / "repository")
        project.run("dvc", "repro", env=empty_home(folder / "home"))
        project.commit("the baseline")

    return Project(_made_once(tmp_path_factory, "baseline", make) / "repository")


@pytest.fixture(scope="session")
def quick_baseline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As `baseline`, with the quick training."""

    def make(folder: Path) -> None:
        project = make_project(folder / "repository", quick=True)
        project.run("dvc", "repro")
        project.commit("the baseline")

    return Project(_made_once(tmp_path_factory, "quick", make) / "repository", quick=True)


@pytest.fixture(scope="session")
def quick_study(quick_baseline: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the quick baseline after `dvc exp run -n searched tune`. Not to be changed: tests take a `searched`."""

    def make(folder: Path) -> None:
        project = copied(quick_baseline, folder / "repository", "trained.jsonl")
        done = project.run("dvc", "exp", "run", "-n", "searched", "tune")
        (folder / "output").write_text(done.stdout, encoding="utf-8")

    return Project(_made_once(tmp_path_factory, "searched", make) / "repository", quick=True)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database of MLflow without any run. To make one takes seconds, so tests copy it."""

    def make(folder: Path) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # the import takes seconds

        SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", folder.as_uri()).engine.dispose()

    return _made_once(tmp_path_factory, "mlflow", make) / "mlflow.db"


@pytest.fixture
def project(baseline: Project, empty_mlflow: Path, tmp_path: Path) -> Project:
    """A copy of the baseline's repository, for one test; its MLflow is empty."""
    return _without_runs(baseline, empty_mlflow, tmp_path / "repository", ".yolo")


@pytest.fixture
def quick(quick_baseline: Project, tmp_path: Path) -> Project:
    """A copy of the quick baseline's repository, for one test, with its MLflow: to make one takes seconds."""
    return copied(quick_baseline, tmp_path / "repository", "trained.jsonl")


@pytest.fixture
def unrecorded(quick_baseline: Project, empty_mlflow: Path, tmp_path: Path) -> Project:
    """As `quick`; its MLflow is empty."""
    return _without_runs(quick_baseline, empty_mlflow, tmp_path / "repository", "trained.jsonl")


@pytest.fixture
def searched(quick_study: Project, tmp_path: Path) -> Project:
    """A copy of the quick baseline's repository after `dvc exp run -n searched tune`, for one test."""
    return copied(quick_study, tmp_path / "repository")


def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder once for all processes that share the tests, and return it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder


def _without_runs(project: Project, empty_mlflow: Path, root: Path, *left: str) -> Project:
    copy = copied(project, root, "mlflow.db*", ".mlflow", *left)
    shutil.copyfile(empty_mlflow, root / "mlflow.db")
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
