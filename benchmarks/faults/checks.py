"""Take the state of a repository, and list its faults after kills."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import optuna
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from benchmarks.faults.scenarios import Scenario
from stages.params.file import parsed
from stages.services.storage import FINISHED
from tests.helpers.project import Project
from tests.helpers.study import trained

FAULTS = (
    "lost",
    "changed",
    "trained twice",
    "run missing",
    "run doubled",
    "staging",
    "git fsck",
    "dvc status",
    "remote",
)
"""The kinds of faults that are counted."""

POINT = ("epochs", "imgsz", "lr0", "batch", "scale", "seed")
UP_TO_DATE = ("study:\n\talways changed", "Data and pipelines are up to date.", "")


@dataclass(frozen=True)
class Snapshot:
    """The experiments and trials of a repository at a moment.

    Attributes:
        experiments: The commit of each experiment, by name.
        trials: The state and the objective of each finished trial, by the name of its run.
        points: The points of all experiments, as JSON.
        trained: The number of trainings that have ended.
    """

    experiments: dict[str, str]
    trials: dict[str, tuple[str, float | None]]
    points: frozenset[str]
    trained: int


def snapshot(project: Project) -> Snapshot:
    """Return the present state of a repository. No command runs in it."""
    commits = experiments(project)
    texts = (project.run("git", "show", f"{commit}:params.yaml").stdout for commit in commits.values())
    points = frozenset(_point(parsed(text, "params.yaml")) for text in texts)
    return Snapshot(commits, _finished_trials(project), points, len(trained(project)))


def experiments(project: Project) -> dict[str, str]:
    """Return the commit of each experiment, by name."""
    lines = project.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").stdout.splitlines()
    named = [line.split(" ") for line in lines if not line.startswith(("refs/exps/exec/", "refs/exps/celery/"))]
    return {reference.rpartition("/")[2]: commit for reference, commit in named}


def faults_since(before: Snapshot, project: Project) -> Counter[str]:
    """Return what was lost, changed or done again since a moment, by kind."""
    now = snapshot(project)
    kept = before.experiments.keys() & now.experiments.keys()
    trials = before.trials.keys() & now.trials.keys()
    return Counter({
        "lost": len(before.experiments.keys() - kept) + len(before.trials.keys() - trials),
        "changed": sum(before.experiments[name] != now.experiments[name] for name in kept)
        + sum(before.trials[name] != now.trials[name] for name in trials),
        "trained twice": sum(_point(point) in before.points for point in trained(project)[before.trained :]),
    })  # fmt: skip


def faults_at_end(scenario: Scenario, project: Project) -> Counter[str]:
    """Return what is wrong with a repository in which the command has come to its end, by kind."""
    faults: Counter[str] = Counter()
    checked = project.run("git", "fsck", "--no-dangling", "--no-progress", check=False)
    faults["git fsck"] += bool(checked.returncode or re.search("error|missing|broken", checked.stdout + checked.stderr))
    faults["dvc status"] += project.run("dvc", "status").stdout.strip() not in UP_TO_DATE
    if scenario.name in ("push", "pull"):
        faults["remote"] += not _is_shared(project)
        return faults
    client = MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("person-detection")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    names = {run.info.run_name for run in runs if run.info.status == "FINISHED"}
    faults["run missing"] += len(experiments(project).keys() - names)
    faults["run doubled"] += len(runs) - len({run.info.run_name for run in runs})
    if scenario.name == "study":
        faults["staging"] += not _is_staged(project, client)
    return faults


def _is_shared(project: Project) -> bool:
    """Return whether git's remote has the same experiments, and DVC's remote the same files."""
    lines = project.run("git", "ls-remote", "origin", "refs/exps/*").stdout.splitlines()
    remote = {line.split("\t")[1].rpartition("/")[2]: line.split("\t")[0] for line in lines}
    return remote == experiments(project) and "in sync" in project.run("dvc", "status", "--cloud").stdout


def _is_staged(project: Project, client: MlflowClient) -> bool:
    """Return whether one version exists, has the alias, and is the model that the report recommends."""
    recommended = re.search(r"The model is that of (\S+) ", project.text("reports/decision.md"))
    versions = client.search_model_versions("name='person-detector'")
    try:
        version = client.get_model_version_by_alias("person-detector", "staging")
    except MlflowException:  # no version has the alias
        return False
    return recommended is not None and len(versions) == 1 and version.tags.get("run") == recommended[1]


def _finished_trials(project: Project) -> dict[str, tuple[str, float | None]]:
    database = project.root / ".study" / "optuna.db"
    if not database.is_file():
        return {}
    storage = f"sqlite:///{database}"
    return {
        trial.user_attrs["name"]: (trial.state.name, trial.value)
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        if trial.state in FINISHED
    }


def _point(params: dict[str, object]) -> str:
    return json.dumps({key: params[key] for key in POINT}, sort_keys=True)
