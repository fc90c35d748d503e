"""A pool of workers: it gives tasks to free workers and returns the outcomes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from types import FrameType, TracebackType
from typing import Any

import psutil

from stages.base.paths import STUDIES, main_root
from stages.experiments.command import ParentCommand
from stages.experiments.workshop import Origin
from stages.workers.messages import EpochEnded, Failed, Outcome, Place, Task
from stages.workers.process import Worker

LOGS = STUDIES / "logs"
WORK = STUDIES / "work"

MAX_FAILURES = 3  # of one kind in a row; then the rest would fail too


class WorkerPool:
    """A pool with one worker for each place. A worker starts with its first task.

    Use the pool in a `with` statement, which ends the workers. Inside it, SIGTERM raises KeyboardInterrupt as Ctrl-C
    does.
    """

    def __init__(
        self, places: Sequence[Place], origin: Origin, on_unfinished: Callable[[Task], None] | None = None
    ) -> None:
        """Prepare the pool without starting a worker.

        Args:
            places: The resources of each worker.
            origin: What the experiments start from.
            on_unfinished: Called at the end for each task without an outcome.
        """
        self._origin, self._on_unfinished = origin, on_unfinished
        self._free: list[Place | Worker] = list(places)  # started workers come first
        host = socket.gethostname()
        self._folders = [WORK / f"{host}-{os.getpid()}-{number}" for number, _ in enumerate(places)]
        self._running: dict[Worker, Task] = {}
        self._failures = ("", 0)  # the kind of the last failures, and their number
        self.parent_command = ParentCommand()
        self._on_sigterm: Any = None

    def __enter__(self) -> WorkerPool:
        _remove_stale_folders()
        self._on_sigterm = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        on_sigint = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
        for worker in [*self._running, *self._free]:
            if isinstance(worker, Worker):
                worker.end()
        for task in self._running.values():
            if self._on_unfinished is not None:
                self._on_unfinished(task)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, on_sigint)

    @property
    def size(self) -> int:
        """The number of workers."""
        return len(self._folders)

    @property
    def has_free_worker(self) -> bool:
        """Return whether a worker waits for a task."""
        return bool(self._free)

    @property
    def has_running_task(self) -> bool:
        """Return whether a worker runs a task."""
        return bool(self._running)

    def submit(self, task: Task) -> None:
        """Give a task to a free worker. If there is none, this raises IndexError."""
        worker = self._free.pop(0)
        if isinstance(worker, Place):
            worker = Worker(worker, self._folders[len(self._running)], self._origin)
        self._running[worker] = task
        worker.send(task)

    def receive(self, on_epoch: Callable[[Task, EpochEnded], bool] | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait for messages for up to a second, and yield the tasks that have ended.

        Args:
            on_epoch: Called for each epoch that has ended; returns whether to stop that training. None stops none.

        Raises:
            Failure: The dvc command that started this process has ended.
        """
        self.parent_command.check()
        ready = wait([worker.connection for worker in self._running], timeout=1)
        for worker in [worker for worker in self._running if worker.connection in ready]:
            message = worker.receive()
            if isinstance(message, EpochEnded):
                worker.answer(on_epoch is not None and on_epoch(self._running[worker], message))
                continue
            if isinstance(message, Failed) and message.kind in ("crashed", "refused"):  # it is dead or may be damaged
                worker.restart()
            self._free.insert(0, worker)
            yield self._running.pop(worker), message

    def is_repeated_failure(self, outcome: Outcome) -> bool:
        """Return whether this outcome is at least the third failure of one kind in a row.

        Call this for each outcome, because it counts them.
        """
        if not isinstance(outcome, Failed):
            self._failures = ("", 0)
            return False
        kind, count = self._failures
        self._failures = (outcome.kind, count + 1 if kind == outcome.kind else 1)
        return self._failures[1] >= MAX_FAILURES


def log_of(name: str) -> str:
    """Return the path of a run's log for a message, from the main repository on."""
    return (LOGS / f"{name}.log").relative_to(main_root()).as_posix()


def _remove_stale_folders() -> None:
    """Remove the folders of workers whose run was killed on this machine."""
    for folder in WORK.glob(f"{socket.gethostname()}-*-*"):
        pid = int(folder.name.split("-")[-2])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(folder, ignore_errors=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
