"""What was measured already: every finished training that DVC and git keep, on the same data and with the same code."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.base.git import git
from stages.base.paths import FIGURES, ROOT, main_root
from stages.experiments import refs
from stages.experiments.identity import code_digests
from stages.experiments.lock import read_lock
from stages.experiments.names import is_confirmation, study_of
from stages.params.resolution import resolved

METRICS = "reports/train/metrics.json"
TESTED = "reports/evaluate/metrics.json"


@dataclass(frozen=True)
class Measured:
    """A finished training.

    Attributes:
        name: Of its run in DVC.
        source: `baseline` for what is committed or stands in the workspace, `grid` for an experiment, `trial` for a
            trial of a study, `tuned` for the run that made a study, `confirmation` for a setting that was trained
            again with another seed.
        arguments: All training arguments.
        metrics: mAP50, mAP50-95, precision and recall on the validation split (0 to 1); train_seconds; step.
        tested: The same of the test split, and ms_per_image; empty where this code has not measured it.
    """

    name: str
    source: str
    arguments: dict[str, Any]
    metrics: dict[str, float]
    tested: dict[str, float] = field(default_factory=dict)


@dataclass
class Found:
    """What was looked through.

    Attributes:
        trainings: Those made from the same files: the baseline first, then experiments by age.
        others: How many were made from other data or code.
        unreadable: Why the others could not be read, by name.
    """

    trainings: list[Measured] = field(default_factory=list)
    others: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


Content = list[bytes | None]
"""dvc.lock, and the metrics of train and evaluate."""


class Unreadable(Exception):
    """What DVC keeps of a training is not whole, or of another form than this code writes."""


def measured(made: Mapping[str, str], base: str) -> Found:
    """Look through what DVC and git keep.

    Args:
        made: MD5 of the data and of each file of code that a training is made from, by path.
        base: The commit that the run under way started from.
    """
    found = Found()
    names = {revision: (name, _source(name)) for name, (revision, _) in refs.experiments().items()}
    baseline = f"baseline-{base[:7] or 'uncommitted'}", "baseline"
    here = [
        path.read_bytes() if path.is_file() else None for path in (ROOT / "dvc.lock", ROOT / METRICS, ROOT / TESTED)
    ]
    if here[0] and here[1]:
        _take(found, baseline, here, made)
    kept = {base: baseline, **names} if base else names
    for run, content in zip(kept.values(), _contents(list(kept)), strict=True):
        if content[0] is None and run[1] == "baseline":  # a commit before the first run
            continue
        _take(found, (run[0], "tuned") if run[1] == "grid" and _is_judged(content) else run, content, made)
    return found


def _is_judged(content: Content) -> bool:
    """Whether a run has ended with the whole report of a study: then it was asked to tune."""
    try:
        outs = read_lock((content[0] or b"").decode())["tune"]["outs"]
        return any(out["path"] == FIGURES and out["nfiles"] > 1 for out in outs)
    except (LookupError, TypeError, ValueError):
        return False


def saved(name: str) -> Measured | None:
    """The training that an experiment holds, whatever it was made from; None where there is no such experiment."""
    found = refs.experiments().get(name)
    if found is None:
        return None
    (content,) = _contents([found[0]])
    try:
        return _read(name, _source(name), content, {})
    except Unreadable:
        return None


def _source(name: str) -> str:
    if is_confirmation(name):
        return "confirmation"
    return "trial" if study_of(name) else "grid"


def _take(found: Found, run: tuple[str, str], content: Content, made: Mapping[str, str]) -> None:
    try:
        one = _read(*run, content, made)
    except Unreadable as error:
        found.unreadable[run[0]] = str(error)
        return
    if one is None:
        found.others += 1
    else:
        found.trainings.append(one)


def _read(name: str, source: str, content: Content, made: Mapping[str, str]) -> Measured | None:
    """The training of one run; None where it was made from other files.

    Raises:
        Unreadable: Something of it is missing or damaged.
    """
    lock, metrics, tested = content
    if lock is None or metrics is None:
        raise Unreadable(f"it has no {'dvc.lock' if lock is None else METRICS}")
    try:
        stages = read_lock(lock.decode())
        stage = stages["train"]
        files = {entry["path"]: entry["md5"] for entry in stage["deps"]}
        arguments = resolved(stage["params"]["params.yaml"])
        numbers = _numbers(stage, METRICS, metrics)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"its dvc.lock or {METRICS} is damaged or of another form") from error
    if not made.items() <= files.items():
        return None
    return Measured(name, source, arguments, numbers, _tested(stages, tested))


def _tested(stages: Mapping[str, Any], metrics: bytes | None) -> dict[str, float]:
    """Metrics of the test split, if this code has measured them on this very model; else nothing."""
    if metrics is None or "evaluate" not in stages:
        return {}
    try:
        stage = stages["evaluate"]
        files = {entry["path"]: entry["md5"] for entry in stage["deps"]}
        model = next(out["md5"] for out in stages["train"]["outs"] if out["path"] == "models/best.pt")
        if files["models/best.pt"] != model or not code_digests("evaluate").items() <= files.items():
            return {}
        return _numbers(stage, TESTED, metrics)
    except (LookupError, TypeError, ValueError, StopIteration):  # a training counts without its test
        return {}


def _numbers(stage: Mapping[str, Any], path: str, metrics: bytes) -> dict[str, float]:
    """The numbers of a metrics.json.

    Raises:
        ValueError: They are not those of the run that dvc.lock describes, or mAP50 is not among them.
    """
    locked = [out["md5"] for out in stage["outs"] if out["path"] == path]
    numbers = {key: float(value) for key, value in json.loads(metrics).items()}
    if locked != [hashlib.md5(metrics).hexdigest()] or "mAP50" not in numbers:
        raise ValueError(path)
    return numbers


COLUMNS = ("name", "source", "mAP50", "seconds", "test_mAP50", "ms_per_image")


def table(trainings: Iterable[Measured]) -> str:
    """The baseline and the grid as comma-separated values, a row each; what is committed, not what stands uncommitted.

    Columns: name (in DVC and MLflow); source (baseline, grid); mAP50 on the validation split (0 to 1); seconds of
    training; test_mAP50; ms_per_image; all training arguments.
    """
    rows = {one.name: one for one in trainings if one.source in ("baseline", "grid")}
    keys = sorted({key for one in rows.values() for key in one.arguments})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *keys])
    for one in rows.values():
        row = [one.name, one.source, one.metrics["mAP50"], one.metrics.get("train_seconds")]
        row += [one.tested.get("mAP50"), one.tested.get("ms_per_image")]
        row += [one.arguments.get(key) for key in keys]
        writer.writerow([json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in row])
    return text.getvalue()


def _contents(revisions: list[str]) -> Iterator[Content]:
    """dvc.lock and the metrics in each commit, read by one git process."""
    prefix = git("rev-parse", "--show-prefix", root=main_root())
    paths = ("dvc.lock", METRICS, TESTED)
    wanted = "".join(f"{revision}:{prefix}{path}\n" for revision in revisions for path in paths)
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=main_root(), input=wanted.encode(), capture_output=True, check=True
    )
    place = 0

    def blob() -> bytes | None:
        nonlocal place
        end = done.stdout.index(b"\n", place)
        head = done.stdout[place:end].split(b" ")
        place = end + 1
        if head[-1] in (b"missing", b"ambiguous"):
            return None
        start, place = place, place + int(head[-1]) + 1
        return done.stdout[start : place - 1]

    for _ in revisions:
        yield [blob() for _ in paths]
