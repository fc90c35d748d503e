"""The record of a finished run: what DVC keeps of it, in the form that MLflow takes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.experiments import study_of
from stages.failures import Failure
from stages.params import read
from stages.repository import git, main_root
from stages.wording import plain

Points = Mapping[tuple[str, int], float]
"""Values of metrics by name and step."""


COST = ("train_seconds", "test/ms_per_image")
"""Numbers that differ from one time to the next although the results are the same."""

AS_IS = ("as_is_mAP50", "as_is_test_mAP50")
"""mAP50 of the pretrained model before the training, on the validation and on the test split, in metrics.json."""


class Incomplete(Failure):
    """What DVC keeps is not a whole run: a file is missing, or is of another form than this code writes."""


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


@contextmanager
def kept(revision: str) -> Iterator[Path]:
    """A temporary folder with params.yaml, dvc.lock and reports/ as they are in a commit.

    Raises:
        Incomplete: The commit lacks one of them.
    """
    wanted = ("params.yaml", "dvc.lock", "reports")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision, *wanted], cwd=main_root(), capture_output=True, check=False
    )
    if archive.returncode:
        raise Incomplete(f"{revision[:7]}: {archive.stderr.decode(errors='replace').strip()}")
    scratch = main_root() / ".dvc" / "tmp"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
            content.extractall(folder, filter="data")
        yield Path(folder)


def experiments() -> dict[str, tuple[str, str]]:
    """DVC's finished experiments by name: the commit of each, and the commit that it started from."""
    form = ("--sort=committerdate", "--format=%(refname) %(objectname)")  # of two with one name, the newer counts
    lines = git("for-each-ref", *form, "refs/exps", root=main_root()).splitlines()
    found = {}
    for reference, revision in (line.split() for line in lines):
        parts = reference.split("/")  # refs/exps/<2 digits of the base>/<the rest of it>/<name>
        if len(parts) == 5 and len(parts[2]) == 2:
            found[parts[4]] = revision, parts[2] + parts[3]
    return found


def model_file(folder: Path) -> Path | None:
    """The weights that a dvc.lock names, in DVC's cache; None where this machine does not have them.

    Raises:
        Incomplete: There is no dvc.lock, or it names none.
    """
    path = Path(_cache().oid_to_path(weights_digest(folder)))
    return path if path.is_file() else None


@cache
def _cache() -> Any:
    from dvc.repo import Repo  # takes a second, and only a mirror made later needs it

    with Repo(main_root()) as repo:
        return repo.cache.local


def stale(folder: Path) -> str:
    """Why the reports of a folder are not those of its params.yaml, or nothing where they are.

    dvc.lock keeps the parameters and the digests of the run that it describes.

    Raises:
        Incomplete: There is no dvc.lock.
    """
    current = read(folder / "params.yaml")
    lock = _lock(folder)
    for stage in (lock[name] for name in ("prepare", "train", "evaluate") if name in lock):
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            if current.get(key) != value:
                return f"{key} in params.yaml was changed since the last run"
        for out in stage.get("outs", []):
            if out["path"].endswith("metrics.json") and not _is_as_locked(folder, out):
                return f"{out['path']} is not the one of the last run"
    return ""


def evaluated(folder: Path) -> bool:
    """Whether a folder holds the evaluation of the model that it holds, so that DVC will not evaluate it again."""
    try:
        lock = _lock(folder)
        stage, data = lock["evaluate"], lock["prepare"]["outs"]
        current = read(folder / "params.yaml")
    except (LookupError, Failure):
        return False
    files = [file for file in (*stage["deps"], *stage["outs"]) if file["path"] != "data/prepared"]
    return (
        all(current.get(key) == value for key, value in stage["params"]["params.yaml"].items())
        and any(dependency["md5"] == out["md5"] for dependency in stage["deps"] for out in data)
        and all(_is_as_locked(folder, file) for file in files)
    )


def _is_as_locked(folder: Path, file: Mapping[str, Any]) -> bool:
    path = folder / file["path"]
    return path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() == file["md5"]


def weights_digest(folder: Path) -> str:
    """MD5 of models/best.pt by the dvc.lock of a folder."""
    for out in _lock(folder).get("train", {}).get("outs", []):
        if out["path"] == "models/best.pt":
            return str(out["md5"])
    raise Incomplete("dvc.lock names no models/best.pt")


def _lock(folder: Path) -> dict[str, Any]:
    """The stages of a dvc.lock."""
    try:
        return dict(read(folder / "dvc.lock")["stages"])
    except (KeyError, Failure) as error:
        raise Incomplete(f"dvc.lock: {error}") from error
