"""Train settings again with other seeds, and measure them on the validation and on the test split.

Each repeat is a DVC experiment, identified by its arguments, its data and its code, and is never trained twice. The
study checks its best trials with one of these seeds; the decision compares settings with all of them.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from stages.base.formatting import duration
from stages.base.paths import STUDIES
from stages.experiments.command import ParentCommand
from stages.experiments.finished import FinishedTraining, finished_training, finished_trainings
from stages.experiments.identity import code_digests
from stages.experiments.lock import parse_lock, prepared
from stages.experiments.names import confirmation_name
from stages.experiments.workshop import Origin
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.tracking import missed
from stages.workers.messages import Failed, Place, Task
from stages.workers.pool import LOGS, WorkerPool, log_of


@dataclass(frozen=True)
class Wanted:
    """A repeat to train.

    Attributes:
        label: The name of its setting in the printed lines, such as `best` or `trial 7`.
        point: The values of the searched parameters.
        seed: The seed of the training.
    """

    label: str
    point: Point
    seed: int


Repeated = tuple[Wanted, FinishedTraining]


class Repeater:
    """Trains repeats, and reuses those that exist.

    Attributes:
        seeds: The seeds of the repeats: those after the seed of params.yaml, which the search uses.
    """

    def __init__(self, params: Params, origin: Origin, places: Sequence[Place]) -> None:
        """Prepare without starting a training.

        Args:
            params: params.yaml.
            origin: What the experiments start from.
            places: The resources of each worker.
        """
        self._params, self._origin, self._places = params, origin, places
        data = prepared(parse_lock(origin.lock))
        self._made = {**code_digests(), data["path"]: data["md5"]}
        self.seeds = range(params.seed + 1, params.seed + 1 + params.tune.confirm_seeds)

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
        """Return the repeats that exist, and those that must be trained."""
        trained = {
            same(training.arguments): training
            for training in finished_trainings(self._made, self._origin.commit).trainings
            if training.tested and "train_seconds" in training.metrics
        }
        repeated: list[Repeated] = []
        missing: list[Wanted] = []
        for repeat in wanted:
            training = trained.get(same(self._arguments(repeat)))
            if training is None:
                missing.append(repeat)
            else:
                repeated.append((repeat, training))
        return repeated, missing

    def train(self, wanted: Iterable[Wanted], failed: dict[str, str]) -> list[Repeated]:
        """Train repeats, print a line for each, and return those that succeeded.

        Args:
            wanted: The repeats to train.
            failed: Gets the reason of each missing repeat, by the name of its run.

        Raises:
            Failure: The dvc command that started this process has ended.
        """
        waiting, running = deque(wanted), dict[str, Wanted]()
        repeated: list[Repeated] = []
        with WorkerPool(self._places, self._origin) as pool:
            while waiting or pool.has_running_task:
                while waiting and pool.has_free_worker:
                    repeat = waiting.popleft()
                    task = self._task(repeat)
                    running[task.name] = repeat
                    missed.note(task.name, warned=False)
                    pool.submit(task)
                for task, outcome in pool.receive():
                    repeat = running.pop(task.name)
                    training = finished_training(task.name) if not isinstance(outcome, Failed) else None
                    if training is not None and training.tested:
                        repeated.append((repeat, training))
                        print(_progress(repeated, len(waiting) + len(running), pool.size), flush=True)
                    else:
                        reason = outcome.reason if isinstance(outcome, Failed) else "its experiment cannot be read"
                        failed[task.name] = " ".join(reason.split())
                        missed.pending(task.name).unlink(missing_ok=True)
                        print(f"{_words(repeat)}: failed: {reason}; see {log_of(task.name)}", flush=True)
                    if pool.is_repeated_failure(outcome):
                        reason = "not started: the repeats before it failed"
                        failed |= {self._task(repeat).name: reason for repeat in waiting}
                        waiting.clear()
        return repeated

    def _arguments(self, repeat: Wanted) -> dict[str, Any]:
        return resolved({**self._params.written(), **repeat.point, "seed": repeat.seed})

    def _task(self, repeat: Wanted) -> Task:
        arguments = self._arguments(repeat)
        identity: list[Any] = [sorted((key, repr(value)) for key, value in arguments.items() if key != "seed")]
        threshold = self._params.evaluate.threshold
        identity += [sorted(self._made.items()), sorted(code_digests("evaluate").items()), threshold]
        name = confirmation_name(hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:6], repeat.seed)
        values = {**repeat.point, "seed": repeat.seed}
        return Task(name, values, arguments, LOGS / f"{name}.log", tuple(self._params.data.classes), threshold)


@contextmanager
def repeats_lock() -> Iterator[None]:
    """Let one process of this machine at a time train repeats. The next one reuses the repeats of this one.

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
            print("another process is training repeats on this machine; waiting for it", flush=True)
        waiting = True
    try:
        yield
    finally:
        lock.release()


def _words(repeat: Wanted) -> str:
    return f"{repeat.label}, seed {repeat.seed}"


def _progress(repeated: Sequence[Repeated], left: int, workers: int) -> str:
    """Return the last repeat as a line, with the estimated time of those that are left."""
    repeat, training = repeated[-1]
    text = (
        f"{_words(repeat)} ({training.name}): mAP50 {training.metrics['mAP50']:.3f} on the validation split, "
        f"{training.tested['mAP50']:.3f} on the test split, {training.metrics['train_seconds']:.0f} s"
    )
    if left:
        mean = statistics.mean(training.metrics["train_seconds"] for _, training in repeated)
        text += f"; {left} left, about {duration(-(-left // workers) * mean)}"
    return text
