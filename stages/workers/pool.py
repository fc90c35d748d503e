"""A pool of workers: it gives tasks to free workers and returns the outcomes."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from types import FrameType, TracebackType
from typing import Any

from stages.base.paths import STUDIES, main_root
from stages.experiments.command import ParentCommand
from stages.services.storage import MAX_LOSSES
from stages.workers.launcher import Launcher, Worker
from stages.workers.messages import EpochEnded, Failed, Outcome, Ready, Task

LOGS = STUDIES / "logs"

MAX_FAILURES = 3  # of one kind in a row; then the rest would fail too


class WorkerPool:
    """A pool of all workers that a launcher has.

    Use the pool in a `with` statement, which ends the workers. Inside it, SIGTERM raises KeyboardInterrupt as Ctrl-C
    does.

    If the memory of a GPU was not enough for several trainings at once, the pool trains the failed task again with the
    GPU to itself. Its outcome is that of the second attempt.
    """

    def __init__(self, launcher: Launcher, on_unfinished: Callable[[Task], None] | None = None) -> None:
        """Prepare the pool without starting a worker.

        Args:
            launcher: The source of the workers.
            on_unfinished: Called at the end for each task without an outcome.
        """
        self._launcher, self._on_unfinished = launcher, on_unfinished
        self._starting: list[Worker] = []
        self._free: list[Worker] = []  # those that have worked come first
        self._running: dict[Worker, Task] = {}
        self._heard: dict[Worker, float] = {}  # when a worker got its task, or reported an epoch
        self._shared: set[str] = set()  # the names of running tasks that have shared their card at any moment
        self._alone: dict[str, list[Task]] = {}  # tasks that get a card to themselves, one after another, by card
        self._failures = ("", 0)  # the kind of the last failures, and their number
        self.parent_command = ParentCommand()
        self._on_sigterm: Any = None

    def __enter__(self) -> WorkerPool:
        self._add_workers()  # first: Ray handles SIGTERM itself from its start on
        self._on_sigterm = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        on_sigint = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second signal would leave processes behind
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for worker in [*self._running, *self._free, *self._starting]:
            worker.end()
        waiting = [task for tasks in self._alone.values() for task in tasks]
        for task in {task.name: task for task in [*self._running.values(), *waiting]}.values():
            if self._on_unfinished is not None:
                self._on_unfinished(task)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, on_sigint)

    @property
    def size(self) -> int:
        """The number of workers that can take tasks, at least 1."""
        return max(1, len(self._free) + len(self._running))

    @property
    def has_free_worker(self) -> bool:
        """Return whether a worker waits for a task."""
        return any(worker.card not in self._alone for worker in self._free)

    @property
    def has_running_task(self) -> bool:
        """Return whether a task has no outcome yet."""
        return bool(self._running or self._alone)

    def submit(self, task: Task) -> None:
        """Give a task to a free worker. If there is none, this raises StopIteration."""
        self._give(task, next(worker for worker in self._free if worker.card not in self._alone))

    def run(self, waiting: deque[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Run tasks, and yield each with its outcome. If its machine is lost, a task begins again elsewhere.

        Args:
            waiting: The tasks. Each is removed when it starts. The caller may clear it, to start no further one.
        """
        losses: Counter[str] = Counter()
        while waiting or self.has_running_task:
            while waiting and self.has_free_worker:
                self.submit(waiting.popleft())
            for task, outcome in self.receive():
                if isinstance(outcome, Failed) and outcome.kind == "lost" and losses[task.name] < MAX_LOSSES:
                    losses[task.name] += 1
                    waiting.append(task)
                    print(f"{task.name}: {outcome.reason}; it begins again", flush=True)
                else:
                    yield task, outcome

    def receive(self, on_epoch: Callable[[Task, EpochEnded], bool] | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait for messages for up to a second, and yield the tasks that have ended.

        Args:
            on_epoch: Called for each epoch that has ended; returns whether to stop that training. None stops none.

        Raises:
            Failure: The dvc command that started this process has ended, or the launcher cannot be used any more.
        """
        self.parent_command.check()
        self._launcher.check()
        has_new = self._add_workers()
        watched = [*self._starting, *self._running]
        if not watched and not has_new:
            time.sleep(1)
        ready = wait([worker.connection for worker in watched], timeout=1) if watched else []
        for worker in [worker for worker in watched if worker.connection in ready]:
            message = worker.receive()
            if isinstance(message, EpochEnded):
                self._heard[worker] = time.monotonic()
                worker.answer(on_epoch is not None and on_epoch(self._running[worker], message))
            elif worker in self._starting:
                self._started(worker, message)
            elif not isinstance(message, Ready):
                yield from self._ended(worker, message)
        for worker, outcome in self._stalled():
            yield from self._ended(worker, outcome)
        yield from self._without_card()

    def _ended(self, worker: Worker, outcome: Outcome) -> Iterator[tuple[Task, Outcome]]:
        """Free a worker, and yield its task with the outcome if the task is over."""
        task = self._running.pop(worker)
        self._free_again(worker, outcome)
        if self._is_final(task, worker.card, outcome):
            yield task, outcome

    def _stalled(self) -> list[tuple[Worker, Failed]]:
        """Return the workers whose training has reported nothing for too long."""
        stall, now = self._launcher.stall, time.monotonic()
        if stall is None:
            return []
        reason = (
            f"no epoch ended for {stall:g} s, so the training was ended; if an epoch takes so long, raise tune.stall"
        )
        return [
            (worker, Failed("stalled", reason, stall)) for worker in self._running if now - self._heard[worker] > stall
        ]

    def is_repeated_failure(self, outcome: Outcome) -> bool:
        """Return whether this outcome is at least the third failure of one kind in a row.

        Call this for each outcome, because it counts them. A lost machine is not counted.
        """
        if isinstance(outcome, Failed) and outcome.kind == "lost":
            return False
        if not isinstance(outcome, Failed):
            self._failures = ("", 0)
            return False
        kind, count = self._failures
        self._failures = (outcome.kind, count + 1 if kind == outcome.kind else 1)
        return self._failures[1] >= MAX_FAILURES

    def _add_workers(self) -> bool:
        """Take over the new workers of the launcher, and return whether there are any."""
        workers = self._launcher.new_workers()
        for worker in workers:
            (self._free if worker.is_ready else self._starting).append(worker)
        return bool(workers)

    def _started(self, worker: Worker, message: Ready | Outcome) -> None:
        self._starting.remove(worker)
        if isinstance(message, Ready):
            self._free.append(worker)
        else:
            worker.end()

    def _give(self, task: Task, worker: Worker) -> None:
        self._free.remove(worker)
        beside = {other.name for place, other in self._running.items() if worker.card and place.card == worker.card}
        self._shared.discard(task.name)
        if beside:
            self._shared |= {task.name, *beside}
        self._running[worker], self._heard[worker] = task, time.monotonic()
        worker.send(task)

    def _free_again(self, worker: Worker, outcome: Outcome) -> None:
        if isinstance(outcome, Failed) and outcome.kind in ("lost", "stalled"):
            worker.end()
            return
        if isinstance(outcome, Failed) and outcome.kind in ("crashed", "refused", "out of memory"):
            worker.restart()  # its process is dead, may be damaged, or keeps the memory
        self._free.insert(0, worker)

    def _is_final(self, task: Task, card: str, outcome: Outcome) -> bool:
        """Return whether a task is over. If not, it waits for the card that it has shared."""
        waiting = self._alone.get(card, [])
        is_out_of_memory = isinstance(outcome, Failed) and outcome.kind == "out of memory"
        is_final = not (is_out_of_memory and task.name in self._shared)
        if task in waiting:
            waiting.remove(task)
        elif not is_final:
            self._alone.setdefault(card, []).append(task)
        self._start_alone(card)
        return is_final

    def _start_alone(self, card: str) -> None:
        """If a task waits for a card, and the card is free, start the task."""
        if card in self._alone and not self._alone[card]:
            del self._alone[card]
        worker = next((worker for worker in self._free if worker.card == card), None)
        if card in self._alone and worker is not None and all(other.card != card for other in self._running):
            self._give(self._alone[card][0], worker)

    def _without_card(self) -> Iterator[tuple[Task, Outcome]]:
        """Yield the tasks that wait for a card whose workers were all lost."""
        cards = {worker.card for worker in [*self._free, *self._running]}
        for card in self._alone.keys() - cards:
            for task in self._alone.pop(card):
                yield task, Failed("lost", "the machine that was to train it again was lost", 0.0)


def log_of(name: str) -> str:
    """Return the path of a run's log in the main repository, for a message."""
    return (LOGS / f"{name}.log").relative_to(main_root()).as_posix()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
