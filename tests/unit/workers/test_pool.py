"""The pool of workers: a worker that dies, and failures in a row."""

from __future__ import annotations

from pathlib import Path

import psutil

from stages.experiments.workshop import Origin
from stages.workers.messages import Done, Failed, Outcome, Place
from stages.workers.pool import WorkerPool
from stages.workers.process import Worker

ORIGIN = Origin("", "", "")


def test_a_worker_that_was_killed_is_a_failure_with_its_signal_and_can_be_restarted(tmp_path: Path) -> None:
    worker = Worker(Place({}, 1), tmp_path, ORIGIN)
    try:
        for _ in range(2):
            psutil.Process(worker._process.pid).kill()
            assert worker.receive() == Failed("crashed", "the worker ended with signal SIGKILL", 0.0)
            worker.restart()
            assert worker._process.is_alive()
    finally:
        worker.end()


def test_the_third_failure_of_one_kind_in_a_row_is_repeated() -> None:
    pool = WorkerPool([], ORIGIN)
    memory, crash = Failed("out of memory", "", 1.0), Failed("crashed", "", 1.0)
    outcomes: list[Outcome] = [memory, memory, Done({}, 1.0), memory, crash, crash, crash, crash]
    assert [pool.is_repeated_failure(outcome) for outcome in outcomes] == [False] * 6 + [True] * 2
