"""The commands that are killed, and their repositories. All trainings are the quick ones of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.project import Project, copied, make_project

STAGES = (sys.executable, "-m", "stages")
EPOCH = {"QUICK_SECONDS": "0.1"}  # so long takes an epoch of a quick training


@dataclass(frozen=True)
class Scenario:
    """A command in a repository.

    Attributes:
        name: Its name in the table.
        command: The command, which is repeated after each kill.
        make: Makes the repository, in a folder that does not exist yet, from the base.
        victims: Which processes are killed: `worker`, `stage`, `dvc`, `git`, or `tree`: the command with its children.
    """

    name: str
    command: tuple[str, ...]
    make: Callable[[Path, Path], Project]
    victims: tuple[str, ...]


def make_base(folder: Path) -> None:
    """Make the repositories that the scenarios copy: after `dvc repro`, and after a study with a confirmation."""
    baseline = make_project(folder / "baseline", quick=True)
    baseline.replace("params.yaml", "  workers: 1 ", "  workers: 2 ")
    baseline.replace("params.yaml", "  trials: 4 ", "  trials: 6 ")
    baseline.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 2 ")
    baseline.run("dvc", "repro")
    baseline.commit("the baseline")
    studied = _copied(folder, "baseline", folder / "studied")
    studied.run("dvc", "exp", "run", "tune")
    studied.commit("the study")


def _copied(base: Path, name: str, root: Path) -> Project:
    return copied(Project(base / name, quick=True), root)


def _baseline(base: Path, root: Path) -> Project:
    return _copied(base, "baseline", root)


def _without_runs(base: Path, root: Path) -> Project:
    """A repository after a study, whose MLflow has no run."""
    project = _copied(base, "studied", root)
    for path in root.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(root / "mlartifacts", ignore_errors=True)
    return project


def _with_remotes(base: Path, root: Path) -> Project:
    """A repository after a study, with remotes beside it that have nothing."""
    project = _copied(base, "studied", root)
    remotes = root.with_name(f"{root.name}-remotes")
    subprocess.run(["git", "init", "-q", "--bare", str(remotes / "origin.git")], check=True)
    project.run("git", "remote", "add", "origin", str(remotes / "origin.git"))
    project.run("git", "push", "-q", "origin", "main")
    project.run("dvc", "remote", "add", "--local", "-d", "disk", str(remotes / "data"))
    return project


def _clone(base: Path, root: Path) -> Project:
    """A new clone of a repository whose study was shared."""
    shared = _with_remotes(base, root.with_name(f"{root.name}-shared"))
    shared.run(*STAGES, "push")
    remotes = root.with_name(f"{root.name}-shared-remotes")
    subprocess.run(["git", "clone", "-q", "-b", "main", str(remotes / "origin.git"), str(root)], check=True)
    project = Project(root, quick=True)
    project.keep_caches_inside()
    project.run("dvc", "remote", "add", "--local", "-d", "disk", str(remotes / "data"))
    return project


GRID = (*STAGES, "grid", "epochs=1,2,3", "lr0=0.001,0.002", "--now")

SCENARIOS = (
    Scenario("study", ("dvc", "exp", "run", "tune"), _baseline, ("worker", "stage", "dvc", "git", "tree")),
    Scenario("grid --now", GRID, _baseline, ("worker", "stage", "git", "tree")),
    Scenario("sync", (*STAGES, "sync"), _without_runs, ("stage", "tree")),
    Scenario("push", (*STAGES, "push"), _with_remotes, ("stage", "dvc", "git", "tree")),
    Scenario("pull", (*STAGES, "pull"), _clone, ("stage", "dvc", "git", "tree")),
)
