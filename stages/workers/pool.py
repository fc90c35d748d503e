"""The workers of a run: tasks go to those that are free, and what comes of them is heard of."""

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
from stages.experiments.command import Above
from stages.experiments.workshop import Origin
from stages.workers.messages import EpochEnded, Failed, Over, Place, Task
from stages.workers.process import Worker

LOGS = STUDIES / "logs"
WORK = STUDIES / "work"

IN_A_ROW = 3  # failures of one kind after which nothing else is tried


class Crew:
    """Workers at their places, started when they are first needed. Use it in a `with`, which ends them.

    In the `with`, SIGTERM is what Ctrl-C is: a KeyboardInterrupt.
    """

    def __init__(self, places: Sequence[Place], origin: Origin, lost: Callable[[Task], None] | None = None) -> None:
        """Prepare; nothing runs yet.

        Args:
            places: Where to train, a worker each.
            origin: What the experiments start from.
            lost: Told of each task that was not over at the end.
        """
        self._origin, self._lost = origin, lost
        self._free: list[Place | Worker] = list(places)  # workers that are there come first
        host = socket.gethostname()
        self._folders = [WORK / f"{host}-{os.getpid()}-{number}" for number, _ in enumerate(places)]
        self._at_work: dict[Worker, Task] = {}
        self._row = ("", 0)
        self.above = Above()
        self._terminated: Any = None

    def __enter__(self) -> Crew:
        _sweep()
        self._terminated = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
        for worker in [*self._at_work, *self._free]:
            if isinstance(worker, Worker):
                worker.end()
        for task in self._at_work.values():
            if self._lost is not None:
                self._lost(task)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGINT, interrupted)

    @property
    def size(self) -> int:
        return len(self._folders)

    @property
    def is_free(self) -> bool:
        """Whether a worker waits for a task."""
        return bool(self._free)

    @property
    def is_at_work(self) -> bool:
        return bool(self._at_work)

    def begin(self, task: Task) -> None:
        """Give a task to a worker that is free."""
        free = self._free.pop(0)
        if isinstance(free, Place):
            free = Worker(free, self._folders[len(self._at_work)], self._origin)
        self._at_work[free] = task
        free.begin(task)

    def hear(self, judge: Callable[[Task, EpochEnded], bool]) -> Iterator[tuple[Task, Over]]:
        """Wait for up to a second, and give the tasks that are over.

        Args:
            judge: Told of each epoch; returns whether to stop that training.

        Raises:
            Failure: The DVC that started this run is gone.
        """
        self.above.check()
        told = wait([worker.connection for worker in self._at_work], timeout=1)
        for worker in [worker for worker in self._at_work if worker.connection in told]:
            news = worker.hear()
            if isinstance(news, EpochEnded):
                worker.answer(judge(self._at_work[worker], news))
                continue
            if isinstance(news, Failed) and news.kind in ("crashed", "refused"):  # it is gone, or may be damaged
                worker.restart()
            self._free.insert(0, worker)
            yield self._at_work.pop(worker), news

    def is_hopeless(self, told: Over) -> bool:
        """Note how a task ended; returns whether it is the third in a row that failed in the same way."""
        if not isinstance(told, Failed):
            self._row = ("", 0)
            return False
        kind, count = self._row
        self._row = (told.kind, count + 1 if kind == told.kind else 1)
        return self._row[1] >= IN_A_ROW


def log_of(name: str) -> str:
    """Where the log of a run is, as it is told."""
    return (LOGS / f"{name}.log").relative_to(main_root()).as_posix()


def _sweep() -> None:
    """Remove the folders of workers whose run was killed on this machine."""
    for old in WORK.glob(f"{socket.gethostname()}-*-*"):
        pid = int(old.name.split("-")[-2])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(old, ignore_errors=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
