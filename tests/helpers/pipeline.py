"""Read what the pipeline has written: results, runs in MLflow, experiments of DVC."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.helpers.files import fingerprint
from tests.helpers.project import Project

posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")

RESULTS = ("data", "models", "reports", "dvc.lock")
STAGES = ("check", "prepare", "train", "evaluate")
UP_TO_DATE = ["study:", "always", "changed"]


def results(project: Project) -> dict[str, str]:
    """Digests of everything that the pipeline wrote."""
    found: dict[str, str] = {}
    for name in RESULTS:
        path = project.root / name
        found |= {f"{name}/{file}": digest for file, digest in (fingerprint(path) if path.is_dir() else {}).items()}
    return {**found, "dvc.lock": project.text("dvc.lock")}


def ran(output: str) -> list[str]:
    """The stages that DVC ran, by what it printed."""
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def mlflow_runs(project: Project) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("person-detection")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    assert [run.info.run_name for run in found if run.info.lifecycle_stage == "deleted"] == []
    assert len({run.info.run_name for run in found}) == len(found), "a run is there twice"
    return {run.info.run_name: run for run in found}


def shown_experiments(project: Project) -> dict[str, Any]:
    """The experiments by name, from `dvc exp show`."""
    rows = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    experiments = [experiment for row in rows for experiment in row.get("experiments") or []]
    return {experiment["name"]: experiment["revs"][0] for experiment in experiments}


# Killed ---------------------------------------------------------------------------------------------------------------


def process_of(module: str, root: Path, started: subprocess.Popen[str]) -> int:
    """The id of the process of a stage of this repository, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert started.poll() is None, "dvc ended before its stage could be killed"
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                    here = (entry / "cwd").resolve() == root.resolve()
                except OSError:
                    continue
                if here and module.encode() in command and command[0].endswith(b"python"):
                    return int(entry.name)
        time.sleep(0.02)
    raise AssertionError(f"{module} was not started")
