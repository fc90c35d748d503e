"""The search under way: points from the study to the workers, and what comes of them back into it."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from optuna.trial import FrozenTrial, Trial

from stages.failures import Failure
from stages.repository import main_root
from stages.request import dvc_above
from stages.sampling import Exhausted
from stages.studies import FINISHED, HEARTBEAT, HOME, OBJECTIVE, Broken, Study
from stages.study_mirror import StudyMirror
from stages.workers import Done, EpochEnded, Failed, Place, Stopped, Task, Told, Worker

IN_A_ROW = 3  # failures of one kind that stop a study
LOGS = HOME / "logs"
WORK = HOME / "work"


class Search:
    """Trains trials of a study until it has as many as it shall have."""

    def __init__(
        self, study: Study, target: int, timeout: float | None, places: Sequence[Place], base: str, mirror: StudyMirror
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            study: Where points come from.
            target: Finished trials that it shall have.
            timeout: Seconds after which no trial is begun.
            places: Where to train, a worker each.
            base: The commit that the experiments start from.
            mirror: Where else trials are told of.
        """
        self._study, self._target, self._base, self._mirror = study, target, base, mirror
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._free: list[Place | Worker] = list(places)  # workers that are there come first
        self._folders = [WORK / f"{os.getpid()}-{number}" for number, _ in enumerate(places)]
        self._at_work: dict[Worker, Trial] = {}
        self._row = ("", 0)
        self._above = dvc_above() if "DVC_STAGE" in os.environ else None
        self._ended = threading.Event()

    def run(self) -> None:
        """Search until the target is reached, the time is over, or the space is exhausted.

        Raises:
            Failure: Three trials in a row failed in the same way, or the DVC that started this is gone.
        """
        _sweep(WORK)
        before = signal.signal(signal.SIGTERM, _interrupt)
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        try:
            self._search()
        finally:
            self._ended.set()
            for worker in [*self._at_work, *self._free]:
                if isinstance(worker, Worker):
                    worker.end()
            for trial in self._at_work.values():
                with suppress(*Broken):  # then the next study finds that this process is gone
                    self._study.fail(trial, "lost", "the study was stopped")
                    self._study.retry(trial)
                    self._mirror.finished(self._frozen(trial))
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGTERM, before)

    def _search(self) -> None:
        waiting = False
        while True:
            self._check_above()
            more = self._hand_out()
            if not self._at_work:
                if not more or len(self._study.finished()) >= self._target:
                    return
                if not waiting:
                    print("the trials that are left are being trained elsewhere; waiting for them", flush=True)
                waiting = True
                time.sleep(1)
                continue
            told = wait([worker.connection for worker in self._at_work], timeout=1)
            for worker in [worker for worker in self._at_work if worker.connection in told]:
                self._hear(worker, worker.hear())

    def _hand_out(self) -> bool:
        """Give each free worker a trial; returns whether there may be more to do."""
        while self._free:
            if self._deadline is not None and time.monotonic() > self._deadline:
                return False
            try:
                trial = self._study.ask()
            except Exhausted:
                print("every point of tune.space has been tried", flush=True)
                return False
            if trial is None:
                return True
            free = self._free.pop(0)
            if isinstance(free, Place):
                free = Worker(free, self._folders[len(self._at_work)], self._base)
            self._at_work[free] = trial
            name = trial.user_attrs["name"]
            self._mirror.begin(self._frozen(trial))
            free.begin(Task(name, dict(trial.params), self._study.arguments(trial.params), LOGS / f"{name}.log"))
        return True

    def _hear(self, worker: Worker, told: Told) -> None:
        trial = self._at_work[worker]
        name = trial.user_attrs["name"]
        if isinstance(told, EpochEnded):
            self._mirror.epoch(name, told.number, told.metrics)
            worker.answer(self._study.report(trial, told.number, told.metrics[OBJECTIVE]))
            return
        del self._at_work[worker]
        self._free.insert(0, worker)
        if isinstance(told, Done):
            self._study.complete(trial, told.metrics, told.train_seconds)
        elif isinstance(told, Stopped):
            self._study.prune(trial, told.seconds)
        else:
            self._study.fail(trial, told.kind, told.reason, told.seconds)
            if told.kind == "crashed":
                self._study.retry(trial)
        frozen = self._frozen(trial)
        self._mirror.finished(frozen)
        print(self._line(frozen), flush=True)
        self._count(told, LOGS / f"{name}.log")

    def _count(self, told: Told, log: Path) -> None:
        if not isinstance(told, Failed):
            self._row = ("", 0)
            return
        kind, count = self._row
        self._row = (told.kind, count + 1 if kind == told.kind else 1)
        if self._row[1] >= IN_A_ROW:
            raise Failure(
                f"the study is stopped: {IN_A_ROW} trials in a row failed ({told.kind}): {told.reason}; {_seen(log)}"
            )

    def _line(self, trial: FrozenTrial) -> str:
        """What a trial was, what came of it, and how much is left."""
        parts = [f"trial {trial.number}: {words(trial.params)}: "]
        seconds = trial.user_attrs.get("seconds") or 0.0
        if trial.state in FINISHED:
            parts.append(f"mAP50 {trial.value or 0.0:.3f}, {trial.state.name.lower()}, {seconds:.0f} s")
        else:
            log = LOGS / f"{trial.user_attrs['name']}.log"
            parts.append(f"failed after {seconds:.0f} s: {trial.user_attrs.get('reason', '')}; {_seen(log)}")
        best, finished = self._study.best(), self._study.finished()
        if best is not None:
            parts.append(f"; best {best.value:.3f} (trial {best.number})")
        left = max(0, self._target - len(finished))
        times = [trial.user_attrs["seconds"] for trial in finished if trial.user_attrs.get("seconds")]
        if left and times:
            rounds = -(-left // len(self._folders))
            parts.append(f"; {left} left, about {duration(rounds * statistics.mean(times))}")
        return "".join(parts)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.trials()[trial.number]

    def _check_above(self) -> None:
        """Stop with the command that started this: whoever killed it wants to start anew."""
        if self._above is None:
            return
        with suppress(psutil.NoSuchProcess):
            if self._above.is_running() and self._above.status() != psutil.STATUS_ZOMBIE:
                return
        raise Failure("the dvc that started this study is gone; the same command goes on with it")

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with suppress(*Broken):  # the next one may come through
                self._study.beat(list(self._at_work.values()))


def words(point: dict[str, Any]) -> str:
    """A point as text: `epochs 5, lr0 0.002`."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
    )


def duration(seconds: float) -> str:
    """Seconds as text, as exact as an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _seen(log: Path) -> str:
    """Where to read on; a worker that ended before its trial began has written of itself alone."""
    return f"see {(log if log.exists() else WORK.parent / 'logs').relative_to(main_root()).as_posix()}"


def _sweep(folder: Path) -> None:
    """Remove the folders of workers whose study was killed."""
    for old in folder.glob("*-*"):
        pid = old.name.partition("-")[0]
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
