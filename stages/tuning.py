"""A study from its start to its end: what is known, the search, the report, and the best written to params.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from stages import params
from stages.experiments import code_digests, edited_lock, prepared, read_lock, study_of, with_values
from stages.failures import Failure
from stages.measured import measured
from stages.params import Params
from stages.repository import DATA, ROOT, commit, write_atomic
from stages.search import Search, words
from stages.space import Point, same
from stages.studies import Study, history, identity, open_storage, table
from stages.study_mirror import StudyMirror, Subject
from stages.workers import places

LOCK = ROOT / "dvc.lock"


def tune(reports: Path) -> None:
    """Search, report, and write the best parameters back.

    Args:
        reports: A folder for study.json, trials.csv and history.csv.

    Raises:
        Failure: There is no data or no commit yet, the storage cannot be had, or the search was stopped.
    """
    given = params.load()
    base = commit()
    if not base:
        raise Failure("a study keeps its trials as experiments of a commit: make the first one with `git commit`")
    if not LOCK.is_file() or not (DATA / "summary.json").is_file():
        raise Failure("data/prepared is not there: run `dvc repro prepare`")
    data, code = prepared(read_lock(LOCK.read_text(encoding="utf-8"))), code_digests()
    digest = json.loads((DATA / "summary.json").read_text(encoding="utf-8"))["digest"]
    known = list(measured({**code, data["path"]: data["md5"]}, base))

    study = Study(given, identity(given, digest, code), open_storage(given.tune.storage))
    study.recover({one.name: one.metrics for one in known if study_of(one.name)})
    new = study.take_in(one for one in known if not one.name.startswith(f"{study.name}-"))
    own = study.point(given.training())
    if own is not None:
        study.enqueue(own)
    _announce(study, given, new)
    mirror = StudyMirror(Subject(study.name, study.identity))
    try:
        if len(study.finished()) < given.tune.trials:
            at = places(given.tune.workers, given.device)
            Search(study, given.tune.trials, given.tune.timeout, at, base, mirror).run()
    finally:
        mirror.close(study.trials(), _report(study, reports))

    before = study.value(own) if own is not None else None
    if before is None:
        equal = (one.metrics["mAP50"] for one in known if same(one.arguments) == same(given.training()))
        before = next(equal, None)
    _conclude(study, given, before)


def _announce(study: Study, given: Params, new: Mapping[str, int]) -> None:
    """What the study begins with."""
    finished = len(study.finished())
    print(f"study {study.name}: {finished} of {given.tune.trials} trials finished", flush=True)
    if study.is_new and (changed := study.differs()):
        print(f"a new study: {', '.join(changed)} changed since the last one", flush=True)
    if new:
        sources = ", ".join(f"{count} {source}" for source, count in new.items())
        print(f"measured before on the same data and code: {sources}", flush=True)
    if finished >= given.tune.trials:
        print(f"nothing to add: `dvc exp run tune -S tune.trials={finished + given.tune.trials}` goes on", flush=True)


def _report(study: Study, folder: Path) -> dict[str, str]:
    """Write what is known of the study; returns it, by the name of the file."""
    files = {
        "study.json": json.dumps(study.summary(), indent=2) + "\n",
        "trials.csv": table(study.trials(), list(study.distributions)),
        "history.csv": history(study.trials()),
    }
    for name, content in files.items():
        write_atomic(folder / name, content)
    return files


def _conclude(study: Study, given: Params, before: float | None) -> None:
    """Tell what is best, and write it to params.yaml if it beats what stands there.

    Args:
        study: The study.
        given: params.yaml as it was when the study began.
        before: mAP50 of that, where somebody has measured it.
    """
    best = study.best()
    if best is None or best.value is None:
        print("no trial is complete: params.yaml stays as it is")
        return
    found = f"best: trial {best.number} ({words(best.params)}), mAP50 {best.value:.3f} on the validation split"
    if before is not None and best.value <= before:
        print(f"{found}; params.yaml stays as it is: with it mAP50 is {before:.3f}")
        return
    if not _write_back(given, best.params):
        print(f"{found}; params.yaml was edited meanwhile and stays as it is")
        return
    beaten = f"before {before:.3f}" if before is not None else "nobody has measured what was there"
    print(f"{found}; written to params.yaml ({beaten})")
    if "DVC_STAGE" not in os.environ:
        print("next: `dvc repro` evaluates it")


def _write_back(given: Params, point: Point) -> bool:
    """Write a point to params.yaml, unless what else counts there is not what was searched with."""
    now = params.load()
    if (now.written(), now.data) != (given.written(), given.data):
        return False
    write_atomic(params.PARAMS, with_values(params.PARAMS.read_text(encoding="utf-8"), point))
    write_atomic(LOCK, edited_lock(LOCK.read_text(encoding="utf-8"), point))  # stage check need not run again
    return True
