"""A run of a study from start to end: earlier results, the search, the reports, and the best written to params.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from stages.base.files import write_atomic
from stages.base.formatting import words
from stages.base.paths import DATA, ROOT
from stages.detector.arguments import check_arguments
from stages.experiments.finished import FinishedTrainings, finished_trainings
from stages.experiments.finished import table as comparison_table
from stages.experiments.identity import code_digests
from stages.experiments.lock import edited_lock
from stages.experiments.noise import measured_noise
from stages.experiments.origin import present_origin
from stages.params import file as params_file
from stages.params.file import with_values
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.convergence import RULE_OF_THUMB
from stages.search.identity import changed_facts, identity
from stages.search.limits import why_none_keeps
from stages.search.loop import Search
from stages.search.recovery import recover
from stages.search.repeats import open_repeater
from stages.search.second_seed import check_best, describe
from stages.search.study import Study
from stages.search.summary import summary
from stages.search.tables import history, table
from stages.services.storage import broken_limits, open_storage
from stages.tracking.study_mirror import StudyMirror, Subject
from stages.workers.launcher import open_launcher

LOCK = ROOT / "dvc.lock"


def run_study(folder: Path) -> None:
    """Run the study of params.yaml, write its reports, and write the best parameters back.

    Args:
        folder: The folder for study.json, trials.csv, history.csv and compared.csv.

    Raises:
        Failure: There is no commit or no prepared data, the storage cannot be used, or the search was stopped.
    """
    params = params_file.load(check_more=check_arguments)
    origin = present_origin()
    digest = json.loads((DATA / "summary.json").read_text(encoding="utf-8"))["digest"]
    results = finished_trainings(origin.made_of, origin.commit)

    noise = measured_noise(results.trainings) or RULE_OF_THUMB
    study = Study(params, identity(params, digest, code_digests()), open_storage(params.tune.storage), noise.sd)
    recover(study)
    new = study.add_results(results.trainings)
    start = study.space.point(params.training())
    if start is not None and study.enqueue(start):  # the best needs a result to be compared with
        study.target = max(study.target, sum(trial.state != TrialState.FAIL for trial in study.trials()))
    _print_start(study, params, new)
    mirror = StudyMirror(Subject(study.name, study.identity), study.lock)
    status = "KILLED"
    try:
        with open_launcher(params, origin) as launcher:
            repeater = open_repeater(params, origin, launcher)  # if a split cannot be made, nothing is searched
            if len(study.finished()) < study.target:
                Search(study, params.tune.timeout, launcher, mirror).run()
            check_best(study, noise, repeater)
        status = "FINISHED"
    finally:
        mirror.close(study.trials(), _write_reports(study, params, results, folder), status)

    if start is not None:
        before = study.objective_at(start)
    else:
        equal = (run.metrics["mAP50"] for run in results.trainings if same(run.arguments) == same(params.training()))
        before = next(equal, None)
    _conclude(study, params, before)


def _print_start(study: Study, params: Params, new: Mapping[str, int]) -> None:
    finished = len(study.finished())
    print(f"study {study.name}: {finished} of {study.target} trials finished", flush=True)
    if study.is_new and (changed := changed_facts(study.identity, study.storage)):
        print(f"a new study: {', '.join(changed)} changed since the last one", flush=True)
    if new:
        sources = ", ".join(f"{count} {source}" for source, count in new.items())
        print(f"measured before on the same data and code: {sources}", flush=True)
    if finished >= study.target:
        command = f"dvc exp run tune -S tune.trials={finished + params.tune.trials}"
        print(f"the study is complete; `{command}` adds trials", flush=True)


def _write_reports(study: Study, params: Params, results: FinishedTrainings, folder: Path) -> dict[str, str]:
    """Write the reports of the study to the folder, and return their content by the name of the file."""
    left_out = {"other data or code": results.others, "unreadable": results.unreadable}
    files = {
        "study.json": json.dumps({**summary(study, params.tune), "left_out": left_out}, indent=2) + "\n",
        "trials.csv": table(study.trials(), list(study.space.distributions)),
        "compared.csv": comparison_table(results.trainings),
        "history.csv": history(study.trials()),
    }
    for name, content in files.items():
        write_atomic(folder / name, content)
    return files


def _conclude(study: Study, params: Params, before: float | None) -> None:
    """Print the best trial, and write it to params.yaml if it beats the values there.

    Args:
        study: The study.
        params: The content of params.yaml at the start of the study.
        before: The mAP50 of these values on the validation split, 0 to 1, or None if there is no result.
    """
    best = study.best()
    if best is None or best.value is None:
        reason = why_none_keeps(study.complete_trials(), study.limits) or "no trial is complete"
        print(f"{reason}; params.yaml is unchanged")
        return
    if checked := describe(study):
        print(checked)
    line = f"best: trial {best.number} ({words(best.params)}), mAP50 {best.value:.3f} on the validation split"
    if before is None:
        where = "" if study.space.point(params.training()) is not None else " are outside tune.space and"
        print(
            f"{line}; params.yaml is unchanged: its values{where} have no result to compare with. "
            f"`dvc exp apply {best.user_attrs['name']}` takes the trial"
        )
    elif best.value <= before and not _beats_start_by_mean(study, best) and not _start_breaks_limits(study):
        print(f"{line}; params.yaml is unchanged: its values have mAP50 {before:.3f}")
    elif _write_back(params, best.params):
        print(f"{line}; written to params.yaml (before {before:.3f})")
    else:
        print(f"{line}; params.yaml was edited during the study, so the study leaves it unchanged")
    if "DVC_STAGE" not in os.environ:
        print("next: run `dvc repro`; it trains and evaluates with the values in params.yaml")


def _start_trials(study: Study) -> list[FrozenTrial]:
    """Return the complete trials at the values of params.yaml."""
    return [trial for trial in study.complete_trials() if same(trial.params) == same(study.space.start)]


def _start_breaks_limits(study: Study) -> bool:
    start = _start_trials(study)
    return bool(start) and all(map(broken_limits, start))


def _beats_start_by_mean(study: Study, best: FrozenTrial) -> bool:
    """Return whether the best was chosen before the values of params.yaml because of its mean over two seeds."""
    start = [trial.number for trial in _start_trials(study)]
    return best.number not in start and {best.number, *start} <= study.second_seed().keys() and bool(start)


def _write_back(params: Params, point: Point) -> bool:
    """Write a point to params.yaml and dvc.lock, and return whether this was done.

    If the user has edited params.yaml since the start of the study, both files stay unchanged. If another run of the
    same study has written the same point, that is no edit.
    """
    now = params_file.load()
    if now.data != params.data or now.written() not in (params.written(), {**params.written(), **point}):
        return False
    write_atomic(params_file.PARAMS, with_values(params_file.PARAMS.read_text(encoding="utf-8"), point))
    write_atomic(LOCK, edited_lock(LOCK.read_text(encoding="utf-8"), point))  # stage check need not run again
    return True
