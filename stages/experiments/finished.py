"""Finished trainings: all that DVC and git keep, made from the same data and code as the present run."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stages.base.git import baseline_name, git
from stages.base.paths import FIGURES, ROOT, TEST_MATCHES, TEST_METRICS, TRAIN_CURVES, TRAIN_METRICS, main_root
from stages.base.tables import write_table
from stages.experiments import refs
from stages.experiments.lock import Lock, dependencies, parse_lock
from stages.experiments.names import run_kind
from stages.experiments.results import is_output, is_test_of_run
from stages.params.resolution import resolved


@dataclass(frozen=True)
class FinishedTraining:
    """A finished training.

    Attributes:
        name: The name of its run in DVC.
        source: The kind of the run, as `names.run_kind` returns it.
        arguments: All training arguments.
        metrics: mAP50, mAP50-95, precision and recall on the validation split (0 to 1); train_seconds; ms_per_image;
            model_mb; step.
        tested: The same on the test split, and ms_per_image; empty if the present code has not measured them.
        curve: mAP50 on the validation split after each epoch; empty if it cannot be read.
        matches: The text of matches.csv, of the same evaluation as `tested`; empty if it is missing or damaged.
    """

    name: str
    source: str
    arguments: dict[str, Any]
    metrics: dict[str, float]
    tested: dict[str, float] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    matches: str = field(default="", repr=False)


@dataclass
class FinishedTrainings:
    """The finished trainings that DVC and git keep.

    Attributes:
        trainings: The trainings made from the same files: first the baseline, then the experiments by age.
        others: The number of trainings made from other data or code.
        unreadable: The reason why a run could not be read, by the name of the run.
    """

    trainings: list[FinishedTraining] = field(default_factory=list)
    others: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


class _Files(NamedTuple):
    """The content of the files of a run that describe its training; None if a file is missing."""

    lock: bytes | None
    train_metrics: bytes | None
    test_metrics: bytes | None
    curve: bytes | None = None
    matches: bytes | None = None


_PATHS = ("dvc.lock", TRAIN_METRICS, TEST_METRICS, f"{TRAIN_CURVES}/mAP50.tsv", TEST_MATCHES)


class Unreadable(Exception):
    """The record that DVC keeps of a training is not complete, or has another form than this code writes."""


def finished_trainings(digests: Mapping[str, str], base: str) -> FinishedTrainings:
    """Read the workspace, a commit and all experiments.

    Args:
        digests: MD5 of the data and of each file of code that a training is made from, by path.
        base: The commit that the present run started from; empty before the first commit.
    """
    result = FinishedTrainings()
    workspace = _Files(*(path.read_bytes() if path.is_file() else None for path in (ROOT / path for path in _PATHS)))
    if workspace.lock and workspace.train_metrics:
        _add(result, None, base, workspace, digests)
    runs: dict[str, str | None] = {base: None} if base else {}
    runs |= {revision: name for name, (revision, _) in refs.experiments().items()}
    for experiment, files in zip(runs.values(), _files_of(list(runs)), strict=True):
        is_before_the_first_run = experiment is None and files.lock is None
        if not is_before_the_first_run:
            _add(result, experiment, base, files, digests)
    return result


def finished_training(experiment: str) -> FinishedTraining | None:
    """Return the training of an experiment, from whatever files it was made; None if it cannot be read."""
    if experiment not in (experiments := refs.experiments()):
        return None
    (files,) = _files_of([experiments[experiment][0]])
    try:
        return _read(experiment, "", files, {})
    except Unreadable:
        return None


def _add(
    result: FinishedTrainings, experiment: str | None, base: str, files: _Files, digests: Mapping[str, str]
) -> None:
    try:
        training = _read(experiment, base, files, digests)
    except Unreadable as error:
        result.unreadable[experiment or baseline_name(base)] = str(error)
        return
    if training is None:
        result.others += 1
    else:
        result.trainings.append(training)


def _read(experiment: str | None, base: str, files: _Files, digests: Mapping[str, str]) -> FinishedTraining | None:
    """Return the training of one run; None if it was made from other files.

    Raises:
        Unreadable: Something of the run is missing or damaged.
    """
    if files.lock is None or files.train_metrics is None:
        raise Unreadable(f"it has no {'dvc.lock' if files.lock is None else TRAIN_METRICS}")
    try:
        lock = parse_lock(files.lock.decode())
        arguments = resolved(lock["train"]["params"]["params.yaml"])
        sources = dependencies(lock, "train")
        metrics = _numbers(lock, "train", TRAIN_METRICS, files.train_metrics)
        kind = run_kind(experiment, _figures(lock))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"its dvc.lock or {TRAIN_METRICS} is damaged or of another form") from error
    if not digests.items() <= sources.items():
        return None
    tested, name = _test_numbers(lock, files.test_metrics), experiment or baseline_name(base)
    matches = _matches(lock, files.matches) if tested else ""
    return FinishedTraining(name, kind, arguments, metrics, tested, _curve(files.curve), matches)


def _figures(lock: Lock) -> int:
    """Return how many files reports/figures has."""
    outs = lock.get("tune", {}).get("outs", [])
    return next((out.get("nfiles", 0) for out in outs if out["path"] == FIGURES), 0)


def _test_numbers(lock: Lock, metrics: bytes | None) -> dict[str, float]:
    """Return the metrics of the test split if the present code has measured them on this model; else nothing."""
    try:
        if metrics is None or not is_test_of_run(lock):
            return {}
        return _numbers(lock, "evaluate", TEST_METRICS, metrics)
    except (LookupError, TypeError, ValueError):  # a training without its test is a training as well
        return {}


def _matches(lock: Lock, content: bytes | None) -> str:
    """Return the text of matches.csv; empty if it is missing, or not the one that dvc.lock describes."""
    is_whole = content is not None and is_output(lock, "evaluate", TEST_MATCHES, content)
    return content.decode() if content is not None and is_whole else ""


def _curve(content: bytes | None) -> tuple[float, ...]:
    """Return mAP50 after each epoch from DVCLive's table; empty if it is missing or damaged."""
    try:
        rows = list(csv.DictReader(io.StringIO((content or b"").decode()), delimiter="\t"))
        by_epoch = {int(row["step"]): float(row["mAP50"]) for row in rows}
    except (LookupError, TypeError, ValueError, csv.Error):  # a training without its curve is a training as well
        return ()
    values = tuple(by_epoch[epoch] for epoch in sorted(by_epoch))
    is_whole = list(by_epoch) == list(range(1, len(rows) + 1)) and all(map(math.isfinite, values))
    return values if is_whole else ()


def _numbers(lock: Lock, stage: str, path: str, content: bytes) -> dict[str, float]:
    """Return the numbers of a metrics.json.

    Raises:
        ValueError: The file is not the one that dvc.lock describes, or it has no mAP50.
    """
    numbers = {key: float(value) for key, value in json.loads(content).items()}
    if not is_output(lock, stage, path, content) or "mAP50" not in numbers:
        raise ValueError(path)
    return numbers


COLUMNS = ("name", "source", "mAP50", "seconds", "test_mAP50", "ms_per_image", "model_mb")


def table(trainings: Iterable[FinishedTraining]) -> str:
    """Return the baseline and the grid as comma-separated values, one row for each.

    If the baseline is both in the workspace and in a commit, the row is that of the commit.

    Columns: name (in DVC and MLflow); source (baseline, grid); mAP50 on the validation split (0 to 1); seconds of
    training; test_mAP50; ms_per_image (milliseconds); model_mb (megabytes); all training arguments.
    """
    by_name = {training.name: training for training in trainings if training.source in ("baseline", "grid")}
    keys = sorted({key for training in by_name.values() for key in training.arguments})
    rows = []
    for training in by_name.values():
        row = [training.name, training.source, training.metrics["mAP50"], training.metrics.get("train_seconds")]
        row += [training.tested.get("mAP50"), training.metrics.get("ms_per_image"), training.metrics.get("model_mb")]
        rows.append([*row, *(training.arguments.get(key) for key in keys)])
    return write_table([*COLUMNS, *keys], rows)


def _files_of(revisions: list[str]) -> Iterator[_Files]:
    """Yield the files of each commit. One git process reads all of them."""
    prefix = git("rev-parse", "--show-prefix", root=main_root())
    query = "".join(f"{revision}:{prefix}{path}\n" for revision in revisions for path in _PATHS)
    answer = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=main_root(), input=query.encode(), capture_output=True, check=True
    ).stdout
    position = 0

    def next_file() -> bytes | None:
        nonlocal position
        end = answer.index(b"\n", position)
        header = answer[position:end].split(b" ")
        position = end + 1
        if header[-1] in (b"missing", b"ambiguous"):
            return None
        start, position = position, position + int(header[-1]) + 1
        return answer[start : position - 1]

    for _ in revisions:
        yield _Files(*(next_file() for _ in _PATHS))
