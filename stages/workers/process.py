"""Workers of this machine: processes, each with a device and threads of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import psutil

from stages.base.paths import STUDIES
from stages.base.processes import end_children
from stages.experiments.origin import Origin
from stages.experiments.workshop import Workshop
from stages.workers.messages import Failed, Message, Place, Task
from stages.workers.training import serve

WORK = STUDIES / "work"
MAX_THREADS = 8  # of one training on a CPU: Ultralytics' own limit


def places(workers: int | None, device: int | str | None, per_gpu: int = 1) -> list[Place]:
    """Return a place for each worker.

    By default there are `per_gpu` workers for each GPU. Without a GPU there is one for each core, up to four: on two
    cores, two trainings of one thread each did 1.4 times the steps of one training, but with more than four at once the
    sampler has few results to learn from.

    Args:
        workers: The number of workers, or None for the default.
        device: The device in params.yaml, or None. A GPU that is named here gets `per_gpu` workers by default.
        per_gpu: The number of workers that share a GPU.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus() if device is None else []
    has_gpu = bool(gpus) or device not in (None, "cpu")
    count = workers or (max(len(gpus), 1) * per_gpu if has_gpu else min(cores, 4))
    threads = threads_of(cores, count)
    cards = gpus or ([str(device)] if has_gpu else [])
    return [
        Place(
            {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {},
            threads,
            cards[number % len(cards)] if cards and count > len(cards) else "",
        )
        for number in range(count)
    ]


def threads_of(cores: int, trainings: int) -> int:
    """Return the number of threads of each of so many trainings at once."""
    return max(1, min(cores // trainings, MAX_THREADS))


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return names if torch.cuda.is_available() else []


class TrainingProcess:
    """A training process, as its parent sees it.

    Attributes:
        connection: The connection to the process.
        pid: The number of the process.
    """

    def __init__(self, main: Callable[[Connection], None]) -> None:
        """Start the process.

        Args:
            main: Its main function, which can be pickled. It gets the other end of the connection.
        """
        spawn = get_context("spawn")  # the same on every platform, and CUDA does not survive a fork
        self.connection, theirs = spawn.Pipe()
        self._process: BaseProcess = spawn.Process(target=main, args=(theirs,), daemon=False)
        self._process.start()
        self.pid = self._process.pid
        theirs.close()

    def receive(self) -> Message:
        """Return the next message of the process, or Failed if it has died."""
        try:
            message: Message = self.connection.recv()
            return message
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            status = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
            return Failed("crashed", f"the worker ended with {status}", 0.0)

    def send(self, message: Task | bool) -> None:
        """Send a task or an answer. If the process has died, `receive` returns that."""
        with suppress(OSError):
            self.connection.send(message)

    def end(self) -> None:
        """End the process at once, and the processes that it has started."""
        with suppress(psutil.NoSuchProcess):
            end_children(psutil.Process(self.pid))
        self._process.terminate()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()


class LocalWorker:
    """A worker whose process runs on this machine. The process starts with the first task."""

    is_ready = True

    def __init__(self, place: Place, folder: Path, origin: Origin, on_end: Callable[[], None]) -> None:
        """Prepare the worker without starting its process.

        Args:
            place: Its resources.
            folder: The folder for its files.
            origin: What its experiments start from.
            on_end: Called when the worker has ended.
        """
        self.card = place.card
        self._main = partial(_main, place, folder, origin)
        self._folder, self._on_end = folder, on_end
        self._process: TrainingProcess | None = None

    @property
    def connection(self) -> Connection:
        """The connection to the process, on which the pool can wait."""
        return self._started().connection

    def send(self, task: Task) -> None:
        """Give the worker a task."""
        self._started().send(task)

    def receive(self) -> Message:
        """Return the worker's next message, or Failed if its process has died."""
        return self._started().receive()

    def answer(self, stop: bool) -> None:
        """Answer EpochEnded: whether to stop the training."""
        self._started().send(stop)

    def restart(self) -> None:
        """End the process. The next task starts a new one."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def end(self) -> None:
        """End the process, and remove its files."""
        self.restart()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._on_end()

    def _started(self) -> TrainingProcess:
        if self._process is None:
            self._process = TrainingProcess(self._main)
        return self._process


def _main(place: Place, folder: Path, origin: Origin, connection: Connection) -> None:
    serve(connection, place.environment, place.threads, lambda: Workshop(folder / "files", origin))


class LocalLauncher:
    """Starts workers on this machine, one at each place."""

    def __init__(self, places: Sequence[Place], origin: Origin, stall: float | None = None) -> None:
        """Prepare without starting anything.

        Args:
            places: The resources of each worker.
            origin: What the experiments start from.
            stall: As in Launcher.
        """
        self.stall = stall
        self._places = dict(enumerate(places))
        self._idle = list(self._places)
        self._origin = origin

    def __enter__(self) -> LocalLauncher:
        remove_stale_folders(WORK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # a pool ends its workers

    def new_workers(self) -> list[LocalWorker]:
        """Return a worker for each place that has none."""
        numbers, self._idle = self._idle, []
        return [
            LocalWorker(
                self._places[number], WORK / folder_name(number), self._origin, partial(self._idle_again, number)
            )
            for number in numbers
        ]

    def check(self) -> None:
        """Do nothing: this machine can always be used."""

    def _idle_again(self, number: int) -> None:
        self._idle.append(number)


def folder_name(number: int) -> str:
    """Return a name for the folder of a worker of this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{number}"


def remove_stale_folders(work: Path) -> None:
    """Remove the folders of workers whose process was killed on this machine."""
    for folder in work.glob("*-*-*"):
        host, pid, _ = folder.name.rsplit("-", 2)  # the name of a host may have a - too
        if host == socket.gethostname() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)
