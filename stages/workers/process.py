"""A worker: a process with a device and threads of its own that runs one training after another."""

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
from stages.workers.messages import Done, EpochEnded, Failed, Message, Place, Stopped, Task

if TYPE_CHECKING:
    from stages.detector.training import Epoch

MAX_THREADS = 8  # of one training on a CPU: Ultralytics' own limit


def places(workers: int | None, device: int | str | None) -> list[Place]:
    """Return a place for each worker.

    By default there is one worker for each GPU. Without a GPU there is one for each core, up to four: on two cores, two
    trainings of one thread each did 1.4 times the steps of one training, but with more than four at once the sampler
    has few results to learn from.

    Args:
        workers: The number of workers, or None for the default.
        device: The device in params.yaml, or None. A GPU that is named here gets one worker by default.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus() if device is None else []
    default = 1 if device not in (None, "cpu") else len(gpus) or min(cores, 4)
    count = workers or default
    threads = max(1, min(cores // count, MAX_THREADS))
    environments = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]
    return [Place(environments[number % len(environments)], threads) for number in range(count)]


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return names if torch.cuda.is_available() else []


class Worker:
    """A worker process, as the pool sees it.

    Attributes:
        connection: The connection to the process, on which the pool can wait.
    """

    def __init__(self, place: Place, folder: Path, origin: Origin) -> None:
        """Start the process.

        Args:
            place: Its resources.
            folder: The folder for its files.
            origin: What its experiments start from.
        """
        self._place, self._folder, self._origin = place, folder, origin
        self._start()

    def _start(self) -> None:
        spawn = get_context("spawn")  # the same on every platform, and CUDA does not survive a fork
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_work, args=(theirs, self._place, self._folder, self._origin), daemon=False
        )
        self._process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        """Give the worker a task."""
        with suppress(OSError):  # it has died, and `receive` returns that
            self.connection.send(task)

    def receive(self) -> Message:
        """Return the worker's next message, or Failed if its process has died.

        Call `restart` in that case, and after a failure that may have damaged the process.
        """
        try:
            message: Message = self.connection.recv()
            return message
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            status = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
            return Failed("crashed", f"the worker ended with {status}", 0.0)

    def answer(self, stop: bool) -> None:
        """Answer EpochEnded: whether to stop the training."""
        with suppress(OSError):  # it has died, and `receive` returns that
            self.connection.send(stop)

    def restart(self) -> None:
        """End the process and start a new one at the same place."""
        self.end()
        self._start()

    def end(self) -> None:
        """End the process at once, and the processes that it has started."""
        with suppress(psutil.NoSuchProcess):
            end_children(psutil.Process(self._process.pid))
        self._process.terminate()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()


class _Stop(Exception):
    """The answer to EpochEnded was to stop."""


def _work(connection: Connection, place: Place, folder: Path, origin: Origin) -> None:
    """Run tasks until the connection ends. This is the main function of a worker process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the pool ends this one
    os.environ.update(place.environment)
    os.environ["YOLO_VERBOSE"] = "true"  # Ultralytics prints its progress, into the log
    for name in [name for name in os.environ if name.startswith("DVC_") and name != "DVC_SITE_CACHE_DIR"]:
        del os.environ[name]  # they belong to the running dvc command, and DVC would mix the two up
    workshop: Workshop | None = None
    with suppress(EOFError):
        while True:
            task: Task = connection.recv()
            start = time.monotonic()
            with _output_to(task.log):
                try:
                    if workshop is None:
                        # The import takes seconds, and its output belongs into a log.
                        from stages.detector.ultralytics import set_threads

                        set_threads(place.threads)
                        workshop = Workshop(folder / "files", origin)
                    message: Message = _train(connection, workshop, task, start)
                except Failure as failure:
                    message = Failed(getattr(failure, "kind", "refused"), str(failure), time.monotonic() - start)
                except Exception as error:  # the study decides whether to go on
                    traceback.print_exc()
                    message = Failed("crashed", f"{type(error).__name__}: {error}", time.monotonic() - start)
            connection.send(message)


def _train(connection: Connection, workshop: Workshop, task: Task, start: float) -> Done | Stopped:
    # This imports torch, which must see the environment of this process.
    from stages.detector.training_report import train_with_report

    def on_epoch(epoch: Epoch) -> None:
        connection.send(EpochEnded(epoch.number, epoch.metrics))
        if connection.recv() and epoch.number < epoch.of:
            raise _Stop

    workshop.clear(task.values)
    models, report = workshop.root / "models", workshop.root / "reports" / "train"
    try:
        trained = train_with_report(task.arguments, DATA, models, report, [on_epoch])
    except _Stop:
        return Stopped(time.monotonic() - start)
    if task.classes:
        from stages.detector.evaluation import evaluate_with_report  # takes seconds, and a trial does not need it

        report = workshop.root / "reports" / "evaluate"
        imgsz, device = task.arguments["imgsz"], task.arguments["device"]
        evaluate_with_report(trained.model, DATA, imgsz, device, task.classes, task.threshold, report)
    workshop.save(task.name, ("train", "evaluate") if task.classes else ("train",))
    metrics = {name: round(value, 5) for name, value in trained.metrics.items()}
    return Done(metrics, trained.train_seconds)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Append everything that this process prints to a file, also from C code and child processes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    originals = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if sys.platform == "win32" and not isinstance(sys.stdout.buffer.raw, io.FileIO):  # a console's stream ignores dup2
        sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for original, stream in zip(originals, (1, 2), strict=True):
            os.dup2(original, stream)
            os.close(original)
