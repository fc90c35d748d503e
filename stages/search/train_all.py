"""Train a list of settings with the workers, each as an experiment of its own: repeats, the points of a grid."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from stages.base.formatting import duration
from stages.base.paths import STUDIES
from stages.experiments import refs
from stages.experiments.command import ParentCommand
from stages.experiments.finished import FinishedTraining, finished_training
from stages.tracking import missed
from stages.workers.launcher import Launcher
from stages.workers.messages import Failed, Task
from stages.workers.pool import WorkerPool, log_of


def train_all(
    tasks: Mapping[str, Task], launcher: Launcher, failed: dict[str, str]
) -> Iterator[tuple[str, FinishedTraining]]:
    """Train tasks, print a line for each, and yield each that succeeded with its label.

    Three failures of one kind in a row end it: the rest would fail too.

    Args:
        tasks: The tasks by label, which the lines show.
        launcher: The source of the workers.
        failed: Gets the reason of each missing training, by the name of its run.

    Raises:
        Failure: The dvc command that started this process has ended, or there is no worker any more.
    """
    labels, before = {task.name: label for label, task in tasks.items()}, refs.experiments()
    waiting = deque(tasks.values())
    for task in waiting:
        missed.note(task.name, warned=False)
    seconds: list[float] = []
    left = len(waiting)
    with WorkerPool(launcher) as pool:
        for task, outcome in pool.run(waiting):
            label, left = labels[task.name], left - 1
            training = _saved_since(before, task.name)  # a worker that was killed may have saved its training before
            if training is not None and bool(training.tested) == bool(task.classes):
                seconds.append(training.metrics["train_seconds"])
                print(_progress(label, training, seconds, left, pool.size), flush=True)
                yield label, training
            else:
                reason = outcome.reason if isinstance(outcome, Failed) else "its experiment cannot be read"
                _give_up(task, " ".join(reason.split()), failed)
                print(f"{label}: failed: {failed[task.name]}; see {log_of(task.name)}", flush=True)
            if pool.is_repeated_failure(outcome):
                for other in waiting:
                    _give_up(other, "not started: the trainings before it failed", failed)
                left -= len(waiting)
                waiting.clear()


def _saved_since(before: Mapping[str, tuple[str, str]], name: str) -> FinishedTraining | None:
    """Return the training of an experiment that did not exist before: an old commit may have one of the same name."""
    return finished_training(name) if refs.experiments().get(name) != before.get(name) else None


def _give_up(task: Task, reason: str, failed: dict[str, str]) -> None:
    failed[task.name] = reason
    missed.pending(task.name).unlink(missing_ok=True)


def _progress(label: str, training: FinishedTraining, seconds: Sequence[float], left: int, workers: int) -> str:
    """Return the last training as a line, with the estimated time of those that are left."""
    tested = f", {training.tested['mAP50']:.3f} on the test split" if training.tested else ""
    name = f" ({training.name})" if training.name != label else ""
    text = f"{label}{name}: mAP50 {training.metrics['mAP50']:.3f} on the validation split{tested}, {seconds[-1]:.0f} s"
    if left:
        text += f"; {left} left, about {duration(-(-left // workers) * statistics.mean(seconds))}"
    return text


@contextmanager
def one_process() -> Iterator[None]:
    """Let one process of this machine at a time train settings. The next one reuses the results of this one.

    Raises:
        Failure: The dvc command that started this process has ended.
    """
    STUDIES.mkdir(exist_ok=True)
    lock = FileLock(STUDIES / "confirmation.lock")
    watch = ParentCommand()
    waiting = False
    while True:
        watch.check()
        with suppress(Timeout):
            lock.acquire(timeout=1)
            break
        if not waiting:
            print("another process is training repeats or a grid on this machine; waiting for it", flush=True)
        waiting = True
    try:
        yield
    finally:
        lock.release()
