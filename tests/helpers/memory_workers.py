"""Workers without processes: a function says what each answers to a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from pathlib import Path

from stages.experiments.origin import Origin
from stages.workers.messages import Done, Failed, Message, Ready, Task
from stages.workers.process import LocalLauncher

ORIGIN = Origin("", "", "")
MEMORY, CRASH = Failed("out of memory", "", 1.0), Failed("crashed", "", 1.0)
LOST = Failed("lost", "the machine gpu-1 was lost", 0.0)
DONE = Done({}, 1.0)

Answers = Callable[["MemoryWorker", Task], list[Message]]


class MemoryWorker:
    """A worker without a process: a function says what it answers to a task."""

    def __init__(self, launcher: MemoryLauncher, card: str = "", is_ready: bool = True) -> None:
        self.card, self.is_ready, self.launcher = card, is_ready, launcher
        self.connection, self._other_end = Pipe()
        self.has_ended = self.was_restarted = False
        if not is_ready:
            self._other_end.send(Ready())

    def send(self, task: Task) -> None:
        for message in self.launcher.answers(self, task):
            self._other_end.send(message)

    def say(self, message: Message) -> None:
        self._other_end.send(message)

    def receive(self) -> Message:
        message: Message = self.connection.recv()
        return message

    def answer(self, stop: bool) -> None:
        pass

    def restart(self) -> None:
        self.was_restarted = True

    def end(self) -> None:
        self.has_ended = True


class MemoryLauncher(LocalLauncher):
    """A launcher whose workers are added by a test."""

    def __init__(self, answers: Answers, cards: Sequence[str] = ("",), is_ready: bool = True) -> None:
        self.answers, self.stall = answers, None
        self.workers = [MemoryWorker(self, card, is_ready) for card in cards]
        self.new: list[MemoryWorker] = list(self.workers)

    def new_workers(self) -> list[MemoryWorker]:  # type: ignore[override]
        new, self.new = self.new, []
        return new


def task(name: str) -> Task:
    return Task(name, {}, {}, Path("log"))
