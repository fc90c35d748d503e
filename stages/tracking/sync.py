"""The mirror in MLflow, made later from the data that DVC keeps.

It serves runs whose server could not be reached, and runs of another machine. `python -m stages sync` does it, and can
be repeated at any time: a run that MLflow already has stays as it is. Only a missing data set is added to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

from stages.base.failures import Failure
from stages.base.git import baseline_name, commit, experiment_name, git, run_name
from stages.base.paths import CONFIRMATION, DECISION, MODEL_CARD, REPORTS, ROOT, STUDY_SUMMARY, main_root
from stages.experiments import refs
from stages.experiments.lock import Incomplete, read_lock
from stages.experiments.names import is_study, study_of
from stages.experiments.results import is_evaluation_of_model, stale_reason
from stages.params.file import PARAMS, read
from stages.services import databases
from stages.services.reasons import reason
from stages.tracking import missed, record
from stages.tracking.mirror import Mirror
from stages.tracking.outage import tolerated
from stages.tracking.store import Store, Unreachable, unusable


def mirror_this_run(model: Path, stage: str) -> None:
    """Complete the mirror of the present run, and mirror earlier runs that MLflow has missed.

    A failure of MLflow does not stop the run.

    Args:
        model: The weights of the run.
        stage: The stage that calls this function. dvc.lock does not describe its present results yet.
    """
    with tolerated("not every run is mirrored: {}; see `make sync`"):
        try:
            run = record.record(ROOT, run_name(), commit(), experiment_name(), model, running_stage=stage)
        except Incomplete as incomplete:
            print(f"warning: not mirrored in MLflow: {incomplete}", file=sys.stderr)
            return
        if target := Mirror(run.name).write(run):
            for line in catch_up(target):
                print(line)


def mirror_pending_studies() -> None:
    """Mirror the studies that MLflow has missed. A failure of MLflow does not stop the run."""
    was_warned = any(facts.get("warned") for facts in missed.all_notes().values())
    with tolerated("the study is not mirrored: {}; see `make sync`", is_silent=was_warned):
        for line in _studies(Store(), missed.all_notes()):
            print(line)


def catch_up(target: Store) -> Iterator[str]:
    """Mirror the experiments and studies that MLflow has missed while they ran.

    Yields:
        One line for each run that was missing in MLflow, or that cannot be mirrored.
    """
    experiments = refs.experiments()
    yield from _experiments(target, {name: experiments[name] for name in missed.all_notes() if name in experiments})
    if any(is_study(name) for name in missed.all_notes()):
        yield from _studies(target, missed.all_notes())


def sync(target: Store) -> Iterator[str]:
    """Mirror all runs that DVC keeps: studies, experiments, the last commit and the workspace.

    Yields:
        One line for each run that was missing in MLflow, or that cannot be mirrored.
    """
    yield from _studies(target, None)
    yield from _experiments(target, refs.experiments())
    head = git("rev-parse", "--verify", "--quiet", "HEAD", root=main_root())
    for place, folder in (("the last commit", refs.checkout(head)), ("the workspace", nullcontext(main_root()))):
        try:
            with folder as path:
                if stale := stale_reason(path):
                    yield f"{place}: not mirrored: {stale}"
                elif not is_evaluation_of_model(read_lock(path)):
                    yield f"{place}: not mirrored: its model is not evaluated; `dvc repro` does it"
                elif name := _mirror_baseline(target, path, head):
                    yield f"{name}: mirrored from {place}"
        except Failure as failure:
            yield f"{place}: not mirrored: {failure}"
    if count := target.add_missing_datasets():
        yield f"data set added to {count} runs of an earlier version"


def _studies(target: Store, names: Collection[str] | None) -> Iterator[str]:
    """Mirror the missing trials of these studies; None stands for all studies in the storage."""
    from stages.base import paths
    from stages.services import storage  # Optuna takes a second to import, and most runs have no study to mirror
    from stages.tracking import study_mirror

    setting = read(PARAMS).get("tune", {}).get("storage")
    if names is None and databases.study_address(setting).startswith("sqlite") and not paths.STUDIES.is_dir():
        return
    try:
        studies = list(storage.all_studies(storage.open_storage(setting)))
    except (Failure, *storage.StorageUnavailable) as error:
        why = error if isinstance(error, Failure) else reason(error, databases.study_address(setting))
        yield f"studies: not mirrored: {why}"
        return
    for name, identity, trials in studies:
        is_running = any(trial.state.name == "RUNNING" for trial in trials)
        if is_running or (names is not None and name not in names):
            continue  # a running study writes its mirror itself
        missing = study_mirror.catch_up(target, study_mirror.Subject(name, identity), trials, {})
        if name == _reported_study():
            target.attach(target.parent(name), report_files())
        if missing:
            yield f"{name}: {missing} trials mirrored"


def report_files() -> dict[str, Path | bytes]:
    """Return the files in the workspace that report on its study: the tables, the decision and its figures."""
    named = [ROOT / DECISION, ROOT / CONFIRMATION, ROOT / MODEL_CARD]
    tables = [path for path in sorted(REPORTS.glob("study/*")) if path.name != "ready"]
    figures = {f"figures/{path.name}": path for path in sorted(REPORTS.glob("figures/*.png"))}
    return {**{path.name: path for path in [*named, *tables] if path.is_file()}, **figures}


def _reported_study() -> str:
    """Return the name of the study that the workspace reports on; empty if there is none."""
    try:
        return str(json.loads((ROOT / STUDY_SUMMARY).read_text(encoding="utf-8")).get("name", ""))
    except (OSError, ValueError):
        return ""


def _experiments(target: Store, experiments: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    mirrored = cache(target.mirrored)
    for name, (revision, baseline) in experiments.items():
        trial = study_of(name)
        if trial and name in mirrored(trial[0]):
            continue
        try:
            if _mirror_experiment(target, name, revision, baseline):
                yield f"{name}: mirrored"
        except Failure as failure:
            yield f"{name}: not mirrored: {failure}"


def _mirror_experiment(target: Store, name: str, revision: str, baseline: str) -> bool:
    with refs.checkout(revision) as folder:
        run = record.record(folder, name, baseline, name, refs.model_file(folder))
        written = target.write(run)
    missed.pending(name).unlink(missing_ok=True)
    return written


def _mirror_baseline(target: Store, folder: Path, head: str) -> str | None:
    """Mirror a run that is not an experiment, and return its name; None if MLflow already has it.

    If the run began before the last commit, a note has the name that it began with.
    """
    run = record.record(folder, baseline_name(head), head, None, refs.model_file(folder))
    first_name = next((name for name, note in missed.all_notes().items() if note.get("content") == run.content), None)
    if first_name is None and target.has_results(run.content):
        return None
    if first_name is not None:
        run = replace(run, name=first_name)
    written = target.write(run)
    missed.pending(run.name).unlink(missing_ok=True)
    return run.name if written else None


def sync_all() -> None:
    """Mirror all runs that DVC keeps, and print one line for each run that was missing.

    Raises:
        Failure: MLflow cannot be used.
    """
    try:
        lines = list(sync(Store()))
    except Unreachable as error:
        raise Failure(unusable(error)) from error
    print("\n".join(lines) if lines else "MLflow has every run that DVC keeps")
