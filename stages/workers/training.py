"""The training process of a worker: it runs one training after another, on this machine or on another one."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.base.failures import Failure
from stages.base.processes import end_with_parent
from stages.workers.messages import Done, EpochEnded, Failed, Message, Stopped, Task

if TYPE_CHECKING:
    from stages.detector.training import Epoch


class Folder(Protocol):
    """A folder in which trainings write their results, one after another.

    Attributes:
        root: The folder. Results have the same paths in it as in the repository.
        data: The prepared data of the trainings.
    """

    root: Path
    data: Path

    def clear(self, values: Mapping[str, Any]) -> None:
        """Prepare the folder for a training with these values of training keys."""

    def save(self, name: str, stages: Sequence[str]) -> None:
        """Keep the results of these stages as the experiment `name`."""


def serve(
    connection: Connection, environment: Mapping[str, str], threads: int, open_folder: Callable[[], Folder]
) -> None:
    """Run tasks until the connection ends. This is the main function of a training process.

    Args:
        connection: It brings a Task, and takes its messages.
        environment: Variables to set before torch is imported.
        threads: The number of threads of a training on a CPU.
        open_folder: Makes the folder of the trainings.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the pool ends this one
    os.environ.update(environment)
    os.environ["YOLO_VERBOSE"] = "true"  # Ultralytics prints its progress, into the log
    for name in [name for name in os.environ if name.startswith("DVC_") and name != "DVC_SITE_CACHE_DIR"]:
        del os.environ[name]  # they belong to the running dvc command, and DVC would mix the two up
    folder: Folder | None = None
    with suppress(EOFError):
        while True:
            task: Task = connection.recv()
            start = time.monotonic()
            with output_to(task.log):
                try:
                    if folder is None:
                        # The import takes seconds, and its output belongs into a log.
                        from stages.detector.ultralytics import set_threads

                        set_threads(threads)
                        folder = open_folder()
                    message: Message = _train(connection, folder, task, start)
                except Failure as failure:
                    message = Failed(getattr(failure, "kind", "refused"), str(failure), time.monotonic() - start)
                except Exception as error:  # the study decides whether to go on
                    traceback.print_exc()
                    message = Failed("crashed", f"{type(error).__name__}: {error}", time.monotonic() - start)
            connection.send(message)


class _Stop(Exception):
    """The answer to EpochEnded was to stop."""


def _train(connection: Connection, folder: Folder, task: Task, start: float) -> Done | Stopped:
    # This imports torch, which must see the environment of this process.
    from stages.detector.cost import add_cost
    from stages.detector.training_report import train_with_report

    def on_epoch(epoch: Epoch) -> None:
        connection.send(EpochEnded(epoch.number, epoch.metrics))
        if connection.recv() and epoch.number < epoch.of:
            raise _Stop

    folder.clear(task.values)
    models, report = folder.root / "models", folder.root / "reports" / "train"
    try:
        trained = train_with_report(task.arguments, folder.data, models, report, [on_epoch])
    except _Stop:
        return Stopped(time.monotonic() - start)
    imgsz, device = task.arguments["imgsz"], task.arguments["device"]
    cost = add_cost(trained.model, folder.data, imgsz, device, report)
    if task.classes:
        from stages.detector.evaluation import evaluate_with_report  # takes seconds, and a trial does not need it

        report = folder.root / "reports" / "evaluate"
        evaluate_with_report(trained.model, folder.data, imgsz, device, task.classes, task.threshold, report)
    folder.save(task.name, task.stages)
    metrics = {name: round(value, 5) for name, value in trained.metrics.items()}
    return Done({**metrics, **cost}, trained.train_seconds)


@contextmanager
def output_to(log: Path) -> Iterator[None]:
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
