"""The mirror in MLflow, made again from what DVC keeps: for runs whose server was away, or that another machine made.

`python -m stages sync` does it. A run that is there already is left as it is, so this can be repeated at any time.
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
from stages.base.git import commit, experiment_name, git, run_name
from stages.base.paths import REPORTS, ROOT, main_root
from stages.experiments import lock, refs
from stages.experiments.names import is_study, study_of
from stages.params.file import PARAMS, read
from stages.services import databases
from stages.services.reasons import reason
from stages.tracking import missed, record
from stages.tracking.mirror import Mirror
from stages.tracking.store import Store, Unreachable, unusable


def mirror_this_run(model: Path, stage: str) -> None:
    """Complete the mirror of the run under way, and catch up on others. Nothing that fails here fails the run.

    Args:
        model: Its weights.
        stage: The stage that calls, of which dvc.lock does not know yet.
    """
    try:
        run = record.record(ROOT, run_name(), commit(), experiment_name(), model, under_way=stage)
        if target := Mirror(run.name).write(run):
            for line in catch_up(target):
                print(line)
    except lock.Incomplete as incomplete:
        print(f"warning: not mirrored in MLflow: {incomplete}", file=sys.stderr)
    except Exception as error:  # while others were caught up on
        print(f"warning: not every run is mirrored: {unusable(error)}; see `make sync`", file=sys.stderr)


def mirror_pending_studies() -> None:
    """Catch up on studies that MLflow missed. Nothing that fails here fails the run."""
    try:
        for line in _studies(Store(), missed.everything()):
            print(line)
    except Exception as error:  # whatever a store, a driver or a proxy may raise
        if not any(facts.get("warned") for facts in missed.everything().values()):
            print(f"warning: the study is not mirrored: {unusable(error)}; see `make sync`", file=sys.stderr)


def catch_up(target: Store) -> Iterator[str]:
    """Mirror the experiments whose mirror was not made while they ran, and that DVC has kept since.

    Yields:
        A line for each run that was lacking, or that cannot be mirrored.
    """
    kept = refs.experiments()
    yield from _experiments(target, {name: kept[name] for name in missed.everything() if name in kept})
    if any(is_study(name) for name in missed.everything()):
        yield from _studies(target, missed.everything())


def sync(target: Store) -> Iterator[str]:
    """Mirror everything that DVC keeps: experiments, what is committed, and what stands in the workspace.

    Yields:
        A line for each run that was lacking, or that cannot be mirrored.
    """
    yield from _studies(target, None)
    yield from _experiments(target, refs.experiments())
    head = git("rev-parse", "--verify", "--quiet", "HEAD", root=main_root())
    for place, folder in (("the last commit", refs.kept(head)), ("the workspace", nullcontext(main_root()))):
        try:
            with folder as found:
                if why := lock.stale(found):
                    yield f"{place}: not mirrored: {why}"
                elif mirrored := _mirror_baseline(target, found, head):
                    yield f"{mirrored}: mirrored from {place}"
        except Failure as failure:
            yield f"{place}: not mirrored: {failure}"


def _studies(target: Store, names: Collection[str] | None) -> Iterator[str]:
    """Mirror what is lacking of these studies, or of all that the storage has."""
    from stages.base import paths
    from stages.services import storage  # Optuna takes a second, and most runs have nothing to catch up on
    from stages.tracking import study_mirror

    given = read(PARAMS).get("tune", {}).get("storage")
    if names is None and databases.study_address(given).startswith("sqlite") and not paths.STUDIES.is_dir():
        return
    try:
        known = list(storage.everything(storage.open_storage(given)))
    except (Failure, *storage.Broken) as error:
        why = error if isinstance(error, Failure) else reason(error, databases.study_address(given))
        yield f"studies: not mirrored: {why}"
        return
    for name, identity, trials in known:
        if names is not None and (name not in names or any(trial.state.name == "RUNNING" for trial in trials)):
            continue  # a study at work sees to its mirror itself
        lacking = study_mirror.catch_up(target, study_mirror.Subject(name, identity), trials, {})
        if name == _reported():
            target.attach(target.parent(name), report_files())
        if lacking:
            yield f"{name}: {lacking} trials mirrored"


def report_files() -> dict[str, Path | bytes]:
    """What the workspace tells of its study: the tables, the decision and its figures."""
    named = [REPORTS / "decision.md", REPORTS / "confirmation.csv"]
    tables = [path for path in sorted(REPORTS.glob("study/*")) if path.name != "ready"]
    figures = {f"figures/{path.name}": path for path in sorted(REPORTS.glob("figures/*.png"))}
    return {**{path.name: path for path in [*named, *tables] if path.is_file()}, **figures}


def _reported() -> str:
    """The study that the workspace tells of, where it tells of one."""
    try:
        return str(json.loads((REPORTS / "study" / "study.json").read_text(encoding="utf-8")).get("name", ""))
    except (OSError, ValueError):
        return ""


def _experiments(target: Store, kept: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    mirrored = cache(target.mirrored)
    for name, (revision, baseline) in kept.items():
        trial = study_of(name)
        if trial and name in mirrored(trial[0]):
            continue
        try:
            if _mirror_experiment(target, name, revision, baseline):
                yield f"{name}: mirrored"
        except Failure as failure:
            yield f"{name}: not mirrored: {failure}"


def _mirror_experiment(target: Store, name: str, revision: str, baseline: str) -> bool:
    with refs.kept(revision) as folder:
        run = record.record(folder, name, baseline, name, refs.model_file(folder))
        written = target.write(run)
    missed.pending(name).unlink(missing_ok=True)
    return written


def _mirror_baseline(target: Store, folder: Path, head: str) -> str | None:
    """Mirror a run that is no experiment, under the name it was begun with; None where it is there already."""
    run = record.record(folder, f"baseline-{head[:7]}", head, None, refs.model_file(folder))
    begun = next((name for name, facts in missed.everything().items() if facts.get("content") == run.content), None)
    if begun is None and target.knows(run.content):
        return None
    if begun is not None:
        run = replace(run, name=begun)
    written = target.write(run)
    missed.pending(run.name).unlink(missing_ok=True)
    return run.name if written else None


def sync_all() -> None:
    """Mirror everything that DVC keeps, and print a line for each run that was missing.

    Raises:
        Failure: MLflow cannot be used.
    """
    try:
        lines = list(sync(Store()))
    except Unreachable as error:
        raise Failure(unusable(error)) from error
    print("\n".join(lines) if lines else "MLflow has every run that DVC keeps")
