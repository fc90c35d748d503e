"""Everything that was run, in one table: the baseline, grids, trials, tuned runs, confirmations, and before them the
pretrained models that they started from, without training.

`python -m stages compare` prints the table and writes reports/comparison.md and .csv. It also works while a queue runs.
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
from stages.base.paths import main_root
from stages.base.processes import end_with_parent
from stages.experiments import lock, refs
from stages.experiments.comparison import GRID, TESTED, comma_separated, compare, is_absent, markdown, terminal

FEW = 24  # experiments: these are read sooner than another process has started


def read_experiments(revisions: Sequence[str], commits: Sequence[str]) -> tuple[list[ExpState], Counter[str]]:
    """What `dvc exp show` reads of the workspace, of these commits and of the finished experiments that started there.

    It is read in the same way, but for experiments that are running: DVC 3.67 opens their folders, which come and go
    meanwhile, and fails.

    Args:
        revisions: Of finished experiments. Those that DVC has not cached yet are read first, with all cores.
        commits: In full.

    Returns:
        States, and how many experiments of the queue have no results, by `queued`, `running` or `failed`.
    """
    with Repo(main_root()) as repo:
        new = [revision for revision in revisions if not repo.experiments.cache.odb.exists(revision)]
        batches = [new[start : start + FEW] for start in range(0, len(new), FEW)]
        if len(batches) > 1:
            print(f"reading {len(new)} experiments for the first time", file=sys.stderr)
            spawn = get_context("spawn")
            with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=_begin_process) as pool:
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
    """Ctrl-C reaches every process of a terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _cache(revisions: Sequence[str]) -> None:
    """Let DVC read experiments, and cache what it would read anew each time: those without test metrics.

    DVC 3.67 caches no experiment that lacks a file, because it might be fetched. This one is in git or nowhere.
    """
    with Repo(main_root()) as repo:
        for revision in revisions:
            data = collect_rev(repo, revision).data
            if data is not None and is_absent(data.metrics.get(TESTED)):
                whole = replace(data, metrics={**data.metrics, TESTED: {}})
                if not whole.contains_error:
                    repo.experiments.cache.put(whole, force=True)


def _edited(root: Path) -> str:
    """Why the metrics in the workspace are not those of its params.yaml, or nothing where they are."""
    try:
        return lock.stale(root)
    except Failure as failure:
        return str(failure)


def show() -> None:
    """Print the table of all runs, and write it to reports/comparison.md and .csv."""
    root = main_root()
    head = git("rev-parse", "--verify", "--quiet", "HEAD", root=root)
    if not head:
        print(f"no commit yet, so nothing to compare: `git commit` what is here, `dvc repro`, and then {GRID}")
        return
    kept = refs.experiments()
    wanted = [head, *{start: None for _, start in kept.values()}]
    commits = git("rev-list", "--no-walk=unsorted", "--ignore-missing", *wanted, root=root).split()
    revisions = [revision for revision, start in kept.values() if start in commits]
    states, hidden = read_experiments(revisions, commits)
    found = compare(states, kept, head, hidden, _edited(root))
    write_atomic(root / "reports" / "comparison.md", markdown(found))
    write_atomic(root / "reports" / "comparison.csv", comma_separated(found))
    print(terminal(found, shutil.get_terminal_size((120, 24)).columns))
    print("written: reports/comparison.md, reports/comparison.csv")
