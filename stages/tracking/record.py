"""The record of a finished run: what DVC keeps of it, in the form that MLflow takes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stages.base.failures import Failure
from stages.base.formatting import plain
from stages.experiments.lock import Incomplete, _lock, weights_digest
from stages.experiments.names import AS_IS, study_of
from stages.params.file import read

Points = Mapping[tuple[str, int], float]
"""Values of metrics by name and step."""


COST = ("train_seconds", "test/ms_per_image")
"""Numbers that differ from one time to the next although the results are the same."""


@dataclass(frozen=True)
class Record:
    """What is to be known of a run.

    Attributes:
        name: The run's one name, in DVC and MLflow.
        params: All parameters, flat (`data.source`).
        points: Metrics by name and step; a number of the finished model has step 0.
        tags: What the run was made from.
        files: What to keep with the run, files or their content, by the path among the artifacts.
        study: The study that it is a trial of, if it is one.
        status: FINISHED, FAILED or KILLED, as MLflow calls them.
        content: A digest of parameters, data and results, without what they cost: equal for the same run, however often
            and wherever it is made.
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
    folder: Path, name: str, revision: str, experiment: str | None, model: Path | None, under_way: str = ""
) -> Record:
    """Read the record of a finished run from a folder with params.yaml, dvc.lock and reports/.

    Args:
        folder: Where it is.
        name: The run's.
        revision: The commit that it started from.
        experiment: DVC's name of it, if it is an experiment.
        model: Its weights, if this machine has them.
        under_way: The stage that is running: what dvc.lock says of it is of an earlier run, and left out.

    Raises:
        Incomplete: The folder does not hold a whole run.
    """
    try:
        return _record(folder, name, revision, experiment, model, under_way)
    except (OSError, LookupError, TypeError, ValueError, Failure) as error:
        raise Incomplete(f"{name}: its record is not whole: {error}") from error


def _record(
    folder: Path, name: str, revision: str, experiment: str | None, model: Path | None, under_way: str
) -> Record:
    params = flat(read(folder / "params.yaml"))
    reports = folder / "reports"
    trial = study_of(name)
    numbers = finished("val", json.loads((reports / "train" / "metrics.json").read_text(encoding="utf-8")))
    if trial is None:  # a trial is not tested
        numbers |= finished("test", json.loads((reports / "evaluate" / "metrics.json").read_text(encoding="utf-8")))
    curves = _curves(reports / "train" / "plots" / "metrics")
    digest = json.loads((reports / "data" / "summary.json").read_text(encoding="utf-8"))["digest"]
    measured = sorted((key, value) for key, value in numbers.items() if key not in COST)
    results = [sorted(params.items()), measured, sorted(curves.items()), weights_digest(folder), digest]
    files: dict[str, Path | bytes] = {}
    if trial is None:  # DVC keeps what a trial wrote; a study may have thousands
        files |= {path.relative_to(folder).as_posix(): path for path in sorted(reports.rglob("*")) if path.is_file()}
    lock = {stage: entry for stage, entry in _lock(folder).items() if stage != under_way}
    files["dvc.lock"] = yaml.safe_dump({"schema": "2.0", "stages": lock}, sort_keys=False).encode()
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
    """The tags of a run: the commit it started from, its data, its DVC experiment, the last stage that wrote it."""
    found = {
        "git.commit": revision,
        "mlflow.source.git.commit": revision,
        "data.digest": data_digest,
        "dvc.experiment": experiment or "",
        "dvc.stage": stage,
    }
    if trial := study_of(experiment or ""):
        found |= {"optuna.study": trial[0], "optuna.trial": str(trial[1]), "optuna.state": "COMPLETE"}
    return {key: value for key, value in found.items() if value}


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as `group.key` and text, as MLflow keeps them. A map of class names is one parameter."""
    found: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" == "head":
            found["head"] = plain(value)
        elif isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = "null" if value is None else str(value)
    return found


def finished(split: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a metrics.json, each with the split it was measured on; some belong to no split."""
    alone = ("train_seconds", "step", *AS_IS)
    return {key if key in alone else f"{split}/{key}": float(value) for key, value in metrics.items()}


def _curves(folder: Path) -> dict[tuple[str, int], float]:
    """DVCLive's tables, a metric each: `train/box_loss.tsv` with columns step and box_loss."""
    points = {}
    for path in sorted(folder.rglob("*.tsv")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t"):
            points[name, int(row["step"])] = float(row[path.stem])
    return points
