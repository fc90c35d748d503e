"""One table of all runs: the baseline, grids, trials, tuned runs and confirmations.

The first rows are the pretrained models that the runs started from, without training. `python -m stages compare` prints
the table and writes reports/comparison.md and .csv. It also works while a queue runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from dvc.repo import Repo
from dvc.repo.experiments.collect import collect_rev, collect_successful
from dvc.repo.experiments.serialize import ExpState

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import git
from stages.base.paths import EXPORT_METRICS, main_root
from stages.base.processes import end_with_parent
from stages.experiments import refs
from stages.experiments.comparison import TESTED, compare, is_absent
from stages.experiments.results import stale_reason
from stages.experiments.tables import GRID, comma_separated, markdown, terminal

OPTIONAL = (TESTED, str(Path(EXPORT_METRICS)))  # the metrics that a trial does not have
BATCH = 24  # experiments: one process reads them in less time than another process needs to start
MOST = 61  # processes that a pool can have on Windows


def read_experiments(revisions: Sequence[str], commits: Sequence[str]) -> tuple[list[ExpState], Counter[str]]:
    """Read the data of `dvc exp show`: of the workspace, of commits and of the finished experiments that started there.

    Running experiments are left out. DVC 3.67 opens their folders, and fails if one of them disappears meanwhile.

    Args:
        revisions: The commits of finished experiments. All cores first read those that DVC has not cached yet.
        commits: The full names of commits.

    Returns:
        The states, and the number of experiments in the queue without results, by `queued`, `running` or `failed`.
    """
    with Repo(main_root()) as repo:
        new = [revision for revision in revisions if not repo.experiments.cache.odb.exists(revision)]
        batches = [new[start : start + BATCH] for start in range(0, len(new), BATCH)]
        if len(batches) > 1:
            print(f"reading {len(new)} experiments for the first time", file=sys.stderr)
            spawn = get_context("spawn")
            processes = min(os.cpu_count() or 1, len(batches), MOST)
            with ProcessPoolExecutor(processes, spawn, initializer=_begin_process) as pool:
                list(pool.map(_cache, batches))
        elif new:
            _cache(new)
        finished = collect_successful(repo, commits)
        states = [collect_rev(repo, revision) for revision in ("workspace", *commits)]
        states = [replace(state, experiments=finished.get(state.rev)) for state in states]
        tasks = Counter(task["status"].lower() for task in repo.experiments.celery_queue.status())
    del tasks["success"]
    return states, tasks


def _begin_process() -> None:
    """Ignore Ctrl-C, which every process of a terminal receives: the first process ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _cache(revisions: Sequence[str]) -> None:
    """Let DVC read experiments, and cache also those without metrics of the test split or of an export.

    DVC 3.67 does not cache an experiment with a missing file, because the file might be fetched later. These files
    cannot be fetched: they are in git or nowhere.
    """
    with Repo(main_root()) as repo:
        for revision in revisions:
            data = collect_rev(repo, revision).data
            absent = [path for path in OPTIONAL if data is not None and is_absent(data.metrics.get(path))]
            if data is not None and absent:
                complete = replace(data, metrics={**data.metrics, **{path: {} for path in absent}})
                if not complete.contains_error:
                    repo.experiments.cache.put(complete, force=True)


def _edited(root: Path) -> str:
    """Return the reason why the metrics in the workspace are not those of its params.yaml; empty if they are."""
    try:
        return stale_reason(root)
    except Failure as failure:
        return str(failure)


def show() -> None:
    """Print the table of all runs, and write it to reports/comparison.md and .csv."""
    root = main_root()
    head = git("rev-parse", "--verify", "--quiet", "HEAD", root=root)
    if not head:
        print(f"there is no commit yet and so nothing to compare: run `git commit`, then `dvc repro`, then {GRID}")
        return
    experiments = refs.experiments()
    starts = [head, *{start: None for _, start in experiments.values()}]
    commits = git("rev-list", "--no-walk=unsorted", "--ignore-missing", *starts, root=root).split()
    revisions = [revision for revision, start in experiments.values() if start in commits]
    states, hidden = read_experiments(revisions, commits)
    comparison = compare(states, experiments, head, hidden, _edited(root))
    write_atomic(root / "reports" / "comparison.md", markdown(comparison))
    write_atomic(root / "reports" / "comparison.csv", comma_separated(comparison))
    print(terminal(comparison, shutil.get_terminal_size((120, 24)).columns))
    print("written: reports/comparison.md, reports/comparison.csv")
