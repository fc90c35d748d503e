"""The record of a finished run: the data that DVC keeps of it, in the form that MLflow takes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.formatting import plain
from stages.base.paths import DATA_SUMMARY, EXPORT_METRICS, TEST_METRICS, TRAIN_CURVES, TRAIN_METRICS
from stages.experiments.lock import Incomplete, edited_lock, parse_lock, read_lock, weights_digest
from stages.experiments.names import AS_IS, study_of
from stages.experiments.results import is_evaluation_of_model, is_export_of_run
from stages.params.file import read

DIGEST_TAG = "data.digest"
"""The tag of a run with the digest of its data, from summary.json."""

Points = Mapping[tuple[str, int], float]
"""Values of metrics by name and step."""


COST = ("train_seconds", "val/ms_per_image", "test/ms_per_image")
"""Metrics of time: they differ from one run to the next even if the results are the same."""


@dataclass(frozen=True)
class Record:
    """The record of a run.

    Attributes:
        name: The name of the run, in DVC and MLflow.
        params: All parameters by flat name (`data.source`).
        points: Metrics by name and step; a metric of the finished model has step 0.
        tags: The commit, the data and the experiment of the run.
        files: Files to keep with the run, or their content, by their path among the artifacts.
        content: A digest of parameters, data and results, without times: the same run has the same digest on every
            machine and each time.
        study: The study, if the run is a trial.
        status: FINISHED, FAILED or KILLED, as MLflow calls them.
    """

    name: str
    params: dict[str, str]
    points: dict[tuple[str, int], float]
    tags: dict[str, str]
    files: dict[str, Path | bytes] = field(default_factory=dict)
    content: str = ""
    study: str = ""
    status: str = "FINISHED"


def record(
    folder: Path, name: str, revision: str, experiment: str | None, model: Path | None, running_stage: str = ""
) -> Record:
    """Read the record of a finished run.

    Args:
        folder: A folder with params.yaml, dvc.lock and reports/.
        name: The name of the run.
        revision: The commit that the run started from.
        experiment: The name of the DVC experiment, if the run is one.
        model: The weights, if this machine has them.
        running_stage: The stage that is running. Its entry in dvc.lock is that of an earlier run, and is left out.

    Raises:
        Incomplete: The folder does not hold a complete run.
    """
    try:
        return _record(folder, name, revision, experiment, model, running_stage)
    except (OSError, LookupError, TypeError, ValueError, Failure) as error:
        raise Incomplete(f"{name}: its record is not complete: {error}") from error


def _record(
    folder: Path, name: str, revision: str, experiment: str | None, model: Path | None, running_stage: str
) -> Record:
    params = flat(read(folder / "params.yaml"))
    trial = study_of(name)
    numbers = by_split("val", json.loads((folder / TRAIN_METRICS).read_text(encoding="utf-8")))
    stages = read_lock(folder) if trial is None else {}
    # A trial is not tested, and `dvc exp run train` leaves the test metrics of another model.
    is_tested = trial is None and (running_stage in ("train", "evaluate") or is_evaluation_of_model(stages))
    if is_tested:
        numbers |= by_split("test", json.loads((folder / TEST_METRICS).read_text(encoding="utf-8")))
    curves = _curves(folder / TRAIN_CURVES)
    digest = json.loads((folder / DATA_SUMMARY).read_text(encoding="utf-8"))["digest"]
    measured = sorted((key, value) for key, value in numbers.items() if key not in COST)
    results = [sorted(params.items()), measured, sorted(curves.items()), weights_digest(folder), digest]
    files: dict[str, Path | bytes] = {}
    if trial is None:  # DVC keeps the reports of a trial; a study may have thousands
        reports = [path for path in sorted((folder / "reports").rglob("*")) if path.is_file()]
        others = [] if is_tested else [(folder / TEST_METRICS).parent]
        if not is_export_of_run(stages):  # stage export runs after this record is made
            others.append((folder / EXPORT_METRICS).parent)
        reports = [path for path in reports if not any(path.is_relative_to(other) for other in others)]
        files |= {path.relative_to(folder).as_posix(): path for path in reports}
    lock = (folder / "dvc.lock").read_text(encoding="utf-8")
    if running_stage:
        lock = edited_lock(lock, {}, keep=parse_lock(lock).keys() - {running_stage})
    files["dvc.lock"] = lock.encode()
    files["params.yaml"] = folder / "params.yaml"
    if model is not None and trial is None:
        files["model/best.pt"] = model
    return Record(
        name=name,
        params=params,
        points={**curves, **{(key, 0): value for key, value in numbers.items()}},
        tags=tags(revision, digest, experiment, "evaluate" if trial is None else "study"),
        files=files,
        content=hashlib.sha256(json.dumps(results).encode()).hexdigest(),
        study=trial[0] if trial else "",
    )


def tags(revision: str, data_digest: str, experiment: str | None, stage: str) -> dict[str, str]:
    """Return the tags of a run: its first commit, its data, its DVC experiment, and the last stage that wrote it."""
    result = {
        "git.commit": revision,
        "mlflow.source.git.commit": revision,
        DIGEST_TAG: data_digest,
        "dvc.experiment": experiment or "",
        "dvc.stage": stage,
    }
    if trial := study_of(experiment or ""):
        result |= {"optuna.study": trial[0], "optuna.trial": str(trial[1]), "optuna.state": "COMPLETE"}
    return {key: value for key, value in result.items() if value}


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested parameters as text by `group.key`, as MLflow keeps them. A map of class names is one parameter."""
    result: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" == "head":
            result["head"] = plain(value)
        elif isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = "null" if value is None else str(value)
    return result


def by_split(split: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a metrics.json by `split/name`; those that belong to no split keep their name."""
    without_split = ("train_seconds", "step", "model_mb", *AS_IS)
    return {key if key in without_split else f"{split}/{key}": float(value) for key, value in metrics.items()}


def _curves(folder: Path) -> dict[tuple[str, int], float]:
    """Read DVCLive's tables, one for each metric: `train/box_loss.tsv` has the columns step and box_loss."""
    points = {}
    for path in sorted(folder.rglob("*.tsv")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"):
            points[name, int(row["step"])] = float(row[path.stem])
    return points
