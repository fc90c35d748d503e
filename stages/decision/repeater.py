"""Train the main settings of a study again with other seeds, and measure them on the test split.

Each repeat is a DVC experiment, identified by its arguments, its data and its code, and is never trained twice.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from filelock import FileLock, Timeout

from stages.base.formatting import duration, words
from stages.base.paths import STUDIES
from stages.decision.confirmation import Confirmation, Repeat, Role, Setting, cheapest_setting, first_settings
from stages.decision.evidence import Evidence
from stages.experiments.command import ParentCommand
from stages.experiments.finished import FinishedTraining, finished_training, finished_trainings
from stages.experiments.identity import code_digests
from stages.experiments.lock import parse_lock, prepared
from stages.experiments.names import confirmation_name
from stages.experiments.workshop import Origin
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import same
from stages.tracking import missed
from stages.workers.messages import EpochEnded, Failed, Place, Task
from stages.workers.pool import LOGS, WorkerPool, log_of


class Repeater:
    """Train settings with other seeds, and reuse the repeats that exist."""

    def __init__(self, params: Params, origin: Origin, places: Sequence[Place]) -> None:
        """Prepare without starting a training.

        Args:
            params: params.yaml; its seed is the one that the search uses.
            origin: What the experiments start from.
            places: The resources of each worker.
        """
        self._params, self._origin, self._places = params, origin, places
        data = prepared(parse_lock(origin.lock))
        self._made = {**code_digests(), data["path"]: data["md5"]}
        self.seeds = range(params.seed + 1, params.seed + 1 + params.tune.confirm_seeds)

    def confirm(self, evidence: Evidence) -> Confirmation:
        """Train the settings of a study again. If another process does so on this machine, wait for it first.

        Raises:
            Failure: The dvc command that started this process has ended.
        """
        settings = first_settings(evidence)
        failed: dict[str, str] = {}
        with _confirmation_lock():
            confirmation = Confirmation(settings, self._repeat(settings, failed), failed)
            cheapest = cheapest_setting(evidence, settings, confirmation.noise())
            if cheapest is not None:
                repeats = [*confirmation.repeats, *self._repeat([cheapest], failed)]
                confirmation = Confirmation([*settings, cheapest], repeats, failed)
        return confirmation

    def _repeat(self, settings: Sequence[Setting], failed: dict[str, str]) -> list[Repeat]:
        """Return the repeats of each setting with each seed; add the reasons for missing repeats to `failed`."""
        existing = {
            same(training.arguments): training
            for training in finished_trainings(self._made, self._origin.commit).trainings
            if training.tested and "train_seconds" in training.metrics
        }
        repeats, tasks = [], deque[tuple[Setting, int]]()
        for setting in settings:
            for seed in self.seeds:
                training = existing.get(same(self._arguments(setting, seed)))
                if training is not None:
                    repeats.append(_repeat_of(setting.role, seed, training))
                else:
                    tasks.append((setting, seed))
        if repeats or tasks:
            roles = " and ".join(f"{setting.role} ({words(setting.point)})" for setting in settings)
            print(
                f"confirming {roles} with seeds {', '.join(map(str, self.seeds))}: {len(tasks)} to train, "
                f"{len(repeats)} measured before",
                flush=True,
            )
        if tasks:
            repeats += self._train(tasks, failed)
        order = [setting.role for setting in settings]
        return sorted(repeats, key=lambda repeat: (order.index(repeat.role), repeat.seed))

    def _train(self, tasks: deque[tuple[Setting, int]], failed: dict[str, str]) -> list[Repeat]:
        running: dict[str, tuple[Setting, int]] = {}
        repeats: list[Repeat] = []
        with WorkerPool(self._places, self._origin) as pool:
            while tasks or pool.has_running_task:
                while tasks and pool.has_free_worker:
                    task = self._task(*tasks[0])
                    running[task.name] = tasks.popleft()
                    missed.note(task.name, warned=False)
                    pool.submit(task)
                for task, outcome in pool.receive(_never_stop):
                    setting, seed = running.pop(task.name)
                    training = finished_training(task.name) if not isinstance(outcome, Failed) else None
                    if training is not None and training.tested:
                        repeats.append(_repeat_of(setting.role, seed, training))
                        print(_progress(repeats[-1], len(tasks) + len(running), repeats, pool.size), flush=True)
                    else:
                        reason = outcome.reason if isinstance(outcome, Failed) else "its experiment cannot be read"
                        failed[task.name] = " ".join(reason.split())
                        missed.pending(task.name).unlink(missing_ok=True)
                        print(f"{setting.role}, seed {seed}: failed: {reason}; see {log_of(task.name)}", flush=True)
                    if pool.is_repeated_failure(outcome):
                        reason = "not started: the repeats before it failed"
                        failed |= {self._task(*waiting).name: reason for waiting in tasks}
                        tasks.clear()
        return repeats

    def _arguments(self, setting: Setting, seed: int) -> dict[str, Any]:
        return resolved({**self._params.written(), **setting.point, "seed": seed})

    def _task(self, setting: Setting, seed: int) -> Task:
        arguments = self._arguments(setting, seed)
        identity = [sorted((key, repr(value)) for key, value in arguments.items() if key != "seed")]
        identity += [sorted(self._made.items()), sorted(code_digests("evaluate").items())]
        name = confirmation_name(hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:6], seed)
        values = {**setting.point, "seed": seed}
        return Task(name, values, arguments, LOGS / f"{name}.log", tuple(self._params.data.classes))


@contextmanager
def _confirmation_lock() -> Iterator[None]:
    """Hold the lock of this machine's only confirmation. The next one reuses the repeats of this one."""
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
            print("another process is running a confirmation on this machine; waiting for it", flush=True)
        waiting = True
    try:
        yield
    finally:
        lock.release()


def _never_stop(task: Task, epoch: EpochEnded) -> bool:
    return False


def _repeat_of(role: Role, seed: int, training: FinishedTraining) -> Repeat:
    metrics, tested = training.metrics, training.tested
    milliseconds = tested.get("ms_per_image")
    return Repeat(role, training.name, seed, metrics["mAP50"], tested["mAP50"], metrics["train_seconds"], milliseconds)


def _progress(repeat: Repeat, left: int, repeats: Sequence[Repeat], workers: int) -> str:
    """Return a finished repeat as a line, with the estimated time of those that are left."""
    text = (
        f"{repeat.role}, seed {repeat.seed} ({repeat.name}): mAP50 {repeat.validated:.3f} on the validation split, "
        f"{repeat.tested:.3f} on the test split, {repeat.seconds:.0f} s"
    )
    if left:
        mean = statistics.mean(repeat.seconds for repeat in repeats)
        text += f"; {left} left, about {duration(-(-left // workers) * mean)}"
    return text
