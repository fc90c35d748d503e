"""Read the results of a study: its trials, the points that were trained, and its runs in MLflow."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import optuna

from tests.helpers.pipeline import mlflow_runs
from tests.helpers.project import Project

SEARCHED = ("epochs", "imgsz", "lr0", "batch", "scale")


def trials(project: Project) -> list[dict[str, str]]:
    """Return the rows of trials.csv."""
    return list(csv.DictReader(io.StringIO(project.text("reports/study/trials.csv"))))


def stored(project: Project) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of the only study in the default storage."""
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{project.root}/.study/optuna.db")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{project.root}/.study/optuna.db")
    return study.get_trials(deepcopy=False)


def trained(project: Project) -> list[dict[str, Any]]:
    """Return the points that were trained to the end, as the fake training has logged them."""
    log = project.root / ".cache" / "trained.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def trained_twice(project: Project) -> list[str]:
    """Return the points that were trained more than once, as JSON."""
    points = [json.dumps(point, sort_keys=True) for point in trained(project)]
    return [point for point in set(points) if points.count(point) > 1]


def lines_of_trials(output: str) -> list[str]:
    """Return the lines of an output that a search prints for its trials."""
    return [line for line in output.splitlines() if line.startswith("trial ")]


# MLflow ---------------------------------------------------------------------------------------------------------------


def nested(project: Project) -> tuple[Any, dict[str, Any]]:
    """Return the run of the study, and its child runs by name."""
    runs = mlflow_runs(project)
    (parent,) = [run for name, run in runs.items() if name.startswith("tune-") and name.count("-") == 1]
    own = {name: run for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    return parent, own
