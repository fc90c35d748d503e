"""A study from its start to its end: what is known, the search, the report, and the best written to params.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.formatting import words
from stages.base.git import commit
from stages.base.paths import DATA, ROOT
from stages.detector.arguments import check_arguments
from stages.experiments.finished import Found, measured
from stages.experiments.finished import table as measured_table
from stages.experiments.identity import code_digests
from stages.experiments.lock import edited_lock, prepared
from stages.experiments.workshop import Origin
from stages.params import file as params_file
from stages.params.file import with_values
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.loop import Search
from stages.search.study import Study, identity
from stages.search.tables import history, table
from stages.services.storage import open_storage
from stages.tracking.study_mirror import StudyMirror, Subject
from stages.workers.process import places

LOCK = ROOT / "dvc.lock"


def tune(reports: Path) -> None:
    """Search, report, and write the best parameters back.

    Args:
        reports: A folder for study.json, trials.csv, history.csv and compared.csv.

    Raises:
        Failure: There is no data or no commit yet, the storage cannot be had, or the search was stopped.
    """
    given = params_file.load()
    check_arguments(given)
    base = commit()
    if not base:
        raise Failure("a study keeps its trials as experiments of a commit: make the first one with `git commit`")
    if not LOCK.is_file() or not (DATA / "summary.json").is_file():
        raise Failure("data/prepared is not there: run `dvc repro prepare`")
    origin = Origin(base, params_file.PARAMS.read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8"))
    lock, code = params_file.read(LOCK)["stages"], code_digests()
    data = prepared(lock)
    if lock["prepare"]["params"]["params.yaml"]["data"] != params_file.read(params_file.PARAMS)["data"]:
        raise Failure("data in params.yaml was changed since data/prepared was made: run `dvc repro prepare`")
    digest = json.loads((DATA / "summary.json").read_text(encoding="utf-8"))["digest"]
    found = measured({**code, data["path"]: data["md5"]}, base)
    known = found.trainings

    study = Study(given, identity(given, digest, code), open_storage(given.tune.storage))
    study.recover()
    new = study.take_in(known)
    own = study.point(given.training())
    if own is not None and study.enqueue(own):
        study.target = max(study.target, len(study.finished()) + 1)  # or nobody could say what the best has beaten
    _announce(study, given, new)
    mirror = StudyMirror(Subject(study.name, study.identity), study.alone)
    status = "KILLED"
    try:
        if len(study.finished()) < study.target:
            Search(study, given.tune.timeout, places(given.tune.workers, given.device), origin, mirror).run()
        status = "FINISHED"
    finally:
        mirror.close(study.trials(), _report(study, found, reports), status)

    if own is not None:
        before = study.value(own)
    else:
        equal = (one.metrics["mAP50"] for one in known if same(one.arguments) == same(given.training()))
        before = next(equal, None)
    _conclude(study, given, before)


def _announce(study: Study, given: Params, new: Mapping[str, int]) -> None:
    """What the study begins with."""
    finished = len(study.finished())
    print(f"study {study.name}: {finished} of {study.target} trials finished", flush=True)
    if study.is_new and (changed := study.differs()):
        print(f"a new study: {', '.join(changed)} changed since the last one", flush=True)
    if new:
        sources = ", ".join(f"{count} {source}" for source, count in new.items())
        print(f"measured before on the same data and code: {sources}", flush=True)
    if finished >= study.target:
        print(f"nothing to add: `dvc exp run tune -S tune.trials={finished + given.tune.trials}` goes on", flush=True)


def _report(study: Study, found: Found, folder: Path) -> dict[str, str]:
    """Write what is known of the study and of what it is compared with; returns it, by the name of the file."""
    left_out = {"other data or code": found.others, "unreadable": found.unreadable}
    files = {
        "study.json": json.dumps({**study.summary(), "left_out": left_out}, indent=2) + "\n",
        "trials.csv": table(study.trials(), list(study.distributions)),
        "compared.csv": measured_table(found.trainings),
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
    if before is None:
        print(
            f"{found}; params.yaml stays as it is: nobody has measured it, and it is outside tune.space. "
            f"`dvc exp apply {best.user_attrs['name']}` takes the trial"
        )
    elif best.value <= before:
        print(f"{found}; params.yaml stays as it is: with it mAP50 is {before:.3f}")
    elif _write_back(given, best.params):
        print(f"{found}; written to params.yaml (before {before:.3f})")
    else:
        print(f"{found}; params.yaml was edited meanwhile and stays as it is")
    if "DVC_STAGE" not in os.environ:
        print("next: `dvc repro` trains what is new and evaluates it")


def _write_back(given: Params, point: Point) -> bool:
    """Write a point to params.yaml, unless what counts there was edited; what another study wrote is no edit."""
    now = params_file.load()
    if now.data != given.data or now.written() not in (given.written(), {**given.written(), **point}):
        return False
    write_atomic(params_file.PARAMS, with_values(params_file.PARAMS.read_text(encoding="utf-8"), point))
    write_atomic(LOCK, edited_lock(LOCK.read_text(encoding="utf-8"), point))  # stage check need not run again
    return True
