"""What tests share: the real commands in a real repository, small enough to be quick."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

SOURCE = Path(__file__).resolve().parents[1]
COCO128 = SOURCE.parent / "shared" / "coco128"

# A pipeline that shows everything and takes seconds: 24 drawn pictures, one epoch, few and short trials.
SMALL = {
    "epochs: 4 ": "epochs: 1 ",
    "imgsz: 160 ": "imgsz: 64 ",
    "    train: null": "    train: 16",
    "    val: null": "    val: 4",
    "    test: null": "    test: 4",
    "  imgsz: null": "  imgsz: 64",
    "    epochs: {low: 2, high: 5}": "    epochs: {low: 1, high: 3}",
    "    imgsz: {choices: [128, 160]}": "    imgsz: {choices: [32, 64]}",
    "  trials: 16 ": "  trials: 4 ",
    "  workers: null ": "  workers: 1 ",
    "  confirm_seeds: 3 ": "  confirm_seeds: 0 ",
    "device: null ": "device: cpu ",
}


for _name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_", "OPTUNA_"))]:
    del os.environ[_name]  # of whoever runs the tests with a team's services


@dataclass(frozen=True)
class Project:
    """A git and DVC repository with this project's files."""

    root: Path

    def run(
        self, *command: str, env: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository, as a shell with the environment activated would."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(env), capture_output=True, text=True, check=False, timeout=600
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of a command: this interpreter first, and nothing that names another DVC or MLflow."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "YOLO_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        author = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        at_once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}  # a server that is away stays away for the whole test
        return {**kept, **author, **at_once, "PATH": path, **(extra or {})}

    def text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        content = self.text(path)
        assert old in content, f"{old!r} is not in {path}"
        (self.root / path).write_text(content.replace(old, new, 1), encoding="utf-8")

    def run_queue(self, jobs: int, env: dict[str, str] | None = None) -> None:
        """`dvc queue start`, and wait until nothing is queued or running any more."""
        command = ["dvc", "queue", "start", "-j", str(jobs)]
        nowhere = subprocess.DEVNULL  # its workers keep what they are given open while they wait for more
        subprocess.run(
            command, cwd=self.root, env=self.environment(env), stdout=nowhere, stderr=nowhere, check=True, timeout=60
        )
        deadline = time.monotonic() + 300
        while any(word in self.run("dvc", "queue", "status").stdout for word in ("Queued", "Running")):
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def commit(self, message: str = "change") -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def make_project(root: Path, quick: bool = False) -> Project:
    """A repository with the files of this checkout, in the small form, and no results.

    Args:
        root: Where.
        quick: Take training and evaluation from tests/quick.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=SOURCE, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name.startswith("reports/") or name == "dvc.lock" or not (SOURCE / name).is_file():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / name, root / name)
    project = Project(root)
    for name in ("training.py", "evaluation.py", "yolo.py") if quick else ():
        shutil.copy2(SOURCE / "tests" / "quick" / name, root / "stages" / name)
    for old, new in SMALL.items():
        project.replace("params.yaml", old, new)
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "config", "--local", "core.site_cache_dir", str(root / ".dvc" / "tmp" / "site"))
    project.commit("the project")
    return project


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
    copy = Project(root)
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
