"""Processes that train: each is started once, pinned to its device and threads, and trains one trial after another."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stages.base.failures import Failure
from stages.base.paths import DATA
from stages.base.processes import end_children, end_with_parent
from stages.experiments.workshop import Origin, Workshop
from stages.workers.messages import Done, EpochEnded, Failed, Place, Stopped, Task, Told

if TYPE_CHECKING:
    from stages.detector.training import Epoch

THREADS = 8  # at most, of one training on a CPU: Ultralytics' own limit


def places(workers: int | None, device: int | str | None) -> list[Place]:
    """Where to train: by default one training a GPU, else one a core, at most four.

    On two cores two trainings of one thread each did 1.4 times the steps of one; more than four at once leave the
    sampler little to learn from.

    Args:
        workers: How many, or None for the default.
        device: Of the training; a device that is named is used as it is.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus() if device is None else []
    usual = 1 if device not in (None, "cpu") else len(gpus) or min(cores, 4)
    count = workers or usual
    threads = max(1, min(cores // count, THREADS))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]
    return [Place(environments[number % len(environments)], threads) for number in range(count)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return names if torch.cuda.is_available() else []


class Worker:
    """A process that trains, seen from the study."""

    def __init__(self, place: Place, folder: Path, origin: Origin) -> None:
        """Start the process.

        Args:
            place: Where it trains.
            folder: Where it keeps its files.
            origin: What its experiments start from.
        """
        self._place, self._folder, self._origin = place, folder, origin
        self._start()

    def _start(self) -> None:
        spawn = get_context("spawn")  # the same on every platform, and CUDA does not outlive a fork
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_work, args=(theirs, self._place, self._folder, self._origin), daemon=False
        )
        self._process.start()
        theirs.close()

    def begin(self, task: Task) -> None:
        with suppress(OSError):  # it is gone: heard of next
            self.connection.send(task)

    def hear(self) -> Told:
        """What the worker tells; where it is gone, that. `restart` it then, and after what may have damaged it."""
        try:
            told: Told = self.connection.recv()
            return told
        except (EOFError, OSError):
            self._process.join()
            how = self._process.exitcode or 0
            by = f"signal {signal.Signals(-how).name}" if how < 0 else f"status {how}"
            return Failed("crashed", f"the worker ended with {by}", 0.0)

    def answer(self, stop: bool) -> None:
        with suppress(OSError):  # it is gone: heard of next
            self.connection.send(stop)

    def restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        """End the process, whatever it is at, and those that it has started."""
        with suppress(psutil.NoSuchProcess):
            end_children(psutil.Process(self._process.pid))
        self._process.terminate()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()


class _Stop(Exception):
    """The answer to an epoch was to stop."""


def _work(connection: Connection, place: Place, folder: Path, origin: Origin) -> None:
    """The life of a worker process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the study ends us
    os.environ.update(place.environment)
    os.environ["YOLO_VERBOSE"] = "true"  # into the log
    for name in [name for name in os.environ if name.startswith("DVC_") and name != "DVC_SITE_CACHE_DIR"]:
        del os.environ[name]  # they are of the run under way, and DVC would take ours for it
    workshop: Workshop | None = None
    with suppress(EOFError):
        while True:
            task: Task = connection.recv()
            begun = time.monotonic()
            with _output_to(task.log):
                try:
                    if workshop is None:
                        from stages.detector.ultralytics import (
                            set_threads,  # takes seconds, and its words belong into a log
                        )

                        set_threads(place.threads)
                        workshop = Workshop(folder / "files", origin)
                    told: Told = _train(connection, workshop, task, begun)
                except Failure as failure:
                    told = Failed(getattr(failure, "kind", "refused"), str(failure), time.monotonic() - begun)
                except Exception as error:  # told to the study, which stops when it comes again
                    traceback.print_exc()
                    told = Failed("crashed", f"{type(error).__name__}: {error}", time.monotonic() - begun)
            connection.send(told)


def _train(connection: Connection, workshop: Workshop, task: Task, begun: float) -> Done | Stopped:
    from stages.detector.training_report import (
        train_with_report,  # imports torch, which must see this process's environment
    )

    def listen(epoch: Epoch) -> None:
        connection.send(EpochEnded(epoch.number, epoch.metrics))
        if connection.recv() and epoch.number < epoch.of:
            raise _Stop

    workshop.clear(task.values)
    models, report = workshop.root / "models", workshop.root / "reports" / "train"
    try:
        trained = train_with_report(task.arguments, DATA, models, report, [listen])
    except _Stop:
        return Stopped(time.monotonic() - begun)
    if task.classes:
        from stages.detector.evaluation import evaluate_with_report  # takes seconds, and trials do without

        tested = workshop.root / "reports" / "evaluate"
        imgsz, device = task.arguments["imgsz"], task.arguments["device"]
        evaluate_with_report(trained.model, DATA, imgsz, device, task.classes, tested)
    workshop.save(task.name, ("train", "evaluate") if task.classes else ("train",))
    measured = {name: round(value, 5) for name, value in trained.metrics.items()}
    return Done(measured, trained.train_seconds)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Let everything that this process prints, in Python or beneath it, go to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if sys.platform == "win32" and not isinstance(sys.stdout.buffer.raw, io.FileIO):  # a console's, blind to dup2
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for kept, place in zip(before, (1, 2), strict=True):
            os.dup2(kept, place)
            os.close(kept)
