"""What was measured already: every finished training that DVC and git keep, on the same data and with the same code."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages import records
from stages.experiments import read_lock, study_of
from stages.params import resolved
from stages.repository import ROOT, git, main_root

METRICS = "reports/train/metrics.json"


@dataclass(frozen=True)
class Measured:
    """A finished training.

    Attributes:
        name: Of its run in DVC.
        source: `baseline` for what is committed or stands in the workspace, `grid` for an experiment, `trial` for a
            trial of a study.
        arguments: All training arguments.
        metrics: mAP50, mAP50-95, precision and recall on the validation split (0 to 1); train_seconds; step.
    """

    name: str
    source: str
    arguments: dict[str, Any]
    metrics: dict[str, float]


def measured(made: Mapping[str, str], base: str) -> Iterator[Measured]:
    """Every finished training that was made from the same files: the baseline first, then experiments by age.

    Args:
        made: MD5 of the data and of each file of code that a training is made from, by path.
        base: The commit that the run under way started from.
    """
    names = {revision: (name, _source(name)) for name, (revision, _) in records.experiments().items()}
    baseline = f"baseline-{base[:7] or 'uncommitted'}"
    here = ROOT / "dvc.lock", ROOT / METRICS
    if all(path.is_file() for path in here):
        yield from _measured(baseline, "baseline", here[0].read_bytes(), here[1].read_bytes(), made)
    kept = {base: (baseline, "baseline"), **names} if base else names
    for (name, source), (lock, metrics) in zip(kept.values(), _contents(list(kept)), strict=True):
        if lock is not None and metrics is not None:
            yield from _measured(name, source, lock, metrics, made)


def saved(name: str) -> Measured | None:
    """The training that an experiment holds, whatever it was made from; None where there is no such experiment."""
    found = records.experiments().get(name)
    if found is None:
        return None
    ((lock, metrics),) = _contents([found[0]])
    return next(_measured(name, _source(name), lock, metrics, {}), None) if lock and metrics else None


def _source(name: str) -> str:
    return "trial" if study_of(name) else "grid"


def _measured(name: str, source: str, lock: bytes, metrics: bytes, made: Mapping[str, str]) -> Iterator[Measured]:
    """The training of one run, if it is whole and made from the same files; nothing otherwise."""
    try:
        stage = read_lock(lock.decode())["train"]
        numbers = {key: float(value) for key, value in json.loads(metrics).items()}
        files = {entry["path"]: entry["md5"] for entry in stage["deps"]}
        locked = next(out["md5"] for out in stage["outs"] if out["path"] == METRICS)
        arguments = resolved(stage["params"]["params.yaml"])
    except (LookupError, TypeError, ValueError, StopIteration):  # broken off, or of another form than this code's
        return
    if locked == hashlib.md5(metrics).hexdigest() and made.items() <= files.items() and "mAP50" in numbers:
        yield Measured(name, source, arguments, numbers)


def _contents(revisions: list[str]) -> Iterator[tuple[bytes | None, bytes | None]]:
    """dvc.lock and the training's metrics in each commit, read by one git process."""
    prefix = git("rev-parse", "--show-prefix", root=main_root())
    wanted = "".join(f"{revision}:{prefix}{path}\n" for revision in revisions for path in ("dvc.lock", METRICS))
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
        yield blob(), blob()
