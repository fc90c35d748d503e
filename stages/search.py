"""The search under way: points from the study to the workers, and what comes of them back into it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
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

from stages.experiments import Origin
from stages.failures import Failure
from stages.repository import main_root
from stages.request import dvc_above
from stages.sampling import Exhausted
from stages.storage import HEARTBEAT, HOME, Broken, GivenUp
from stages.studies import Study
from stages.study_mirror import StudyMirror
from stages.trials import FINISHED, OBJECTIVE
from stages.workers import Done, EpochEnded, Failed, Place, Stopped, Task, Told, Worker

IN_A_ROW = 3  # failures of one kind that stop a study
LOGS = HOME / "logs"
WORK = HOME / "work"


class Search:
    """Trains trials of a study until it has as many as it shall have."""

    def __init__(
        self, study: Study, timeout: float | None, places: Sequence[Place], origin: Origin, mirror: StudyMirror
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            study: Where points come from.
            timeout: Seconds after which no trial is begun.
            places: Where to train, a worker each.
            origin: What the experiments start from.
            mirror: Where else trials are told of.
        """
        self._study, self._origin, self._mirror = study, origin, mirror
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._free: list[Place | Worker] = list(places)  # workers that are there come first
        host = socket.gethostname()
        self._folders = [WORK / f"{host}-{os.getpid()}-{number}" for number, _ in enumerate(places)]
        self._at_work: dict[Worker, Trial] = {}
        self._row = ("", 0)
        self._exhausted = False
        self._above = dvc_above() if "DVC_STAGE" in os.environ else None
        self._ended = threading.Event()

    def run(self) -> None:
        """Search until the target is reached, the time is over, or the space is exhausted.

        Raises:
            Failure: Three trials in a row failed in the same way, the storage is gone, or the DVC that started this.
        """
        _sweep()
        terminated = signal.signal(signal.SIGTERM, _interrupt)
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            self._search()
        finally:
            interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
            self._ended.set()
            for worker in [*self._at_work, *self._free]:
                if isinstance(worker, Worker):
                    worker.end()
            for trial in self._at_work.values():
                with suppress(GivenUp, Failure):  # then the next study finds that this process is gone
                    self._study.settle(trial, "lost", "the study was stopped")
                    self._mirror.finished(self._frozen(trial))
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGTERM, terminated)
            signal.signal(signal.SIGINT, interrupted)

    def _search(self) -> None:
        waiting = False
        while True:
            self._check_above()
            more = self._hand_out()
            if not self._at_work:
                if not more or len(self._study.finished()) >= self._study.target:
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
            if self._exhausted or (self._deadline is not None and time.monotonic() > self._deadline):
                return False
            try:
                trial = self._study.ask()
            except Exhausted:
                print("every point of tune.space has been tried", flush=True)
                self._exhausted = True
                return False
            if trial is None:
                return True
            free = self._free.pop(0)
            if isinstance(free, Place):
                free = Worker(free, self._folders[len(self._at_work)], self._origin)
            self._at_work[free] = trial
            name = trial.user_attrs["name"]
            self._mirror.begin(self._frozen(trial))
            free.begin(Task(name, dict(trial.params), self._study.arguments(trial.params), LOGS / f"{name}.log"))
        return True

    def _hear(self, worker: Worker, told: Told) -> None:
        """Note what a worker tells of its trial, and take the worker back when the trial is over."""
        trial = self._at_work[worker]
        if isinstance(told, EpochEnded):
            self._mirror.epoch(trial.user_attrs["name"], told.number, told.metrics)
            stop = True
            with suppress(GivenUp):
                stop = self._study.report(trial, told.number, told.metrics[OBJECTIVE])
            worker.answer(stop)
            return
        if isinstance(told, Failed) and told.kind in ("crashed", "refused"):  # the process is gone, or may be damaged
            worker.restart()
        del self._at_work[worker]
        self._free.insert(0, worker)
        try:
            self._note(trial, told)
        except GivenUp:
            print(f"trial {trial.number}: another machine took it for dead; its point is tried again", flush=True)
            return
        frozen = self._frozen(trial)
        self._mirror.finished(frozen)
        print(self._line(frozen), flush=True)
        self._count(told, LOGS / f"{trial.user_attrs['name']}.log")

    def _note(self, trial: Trial, told: Done | Stopped | Failed) -> None:
        if isinstance(told, Done):
            self._study.complete(trial, told.metrics, told.train_seconds)
        elif isinstance(told, Stopped):
            self._study.prune(trial, told.seconds)
        elif told.kind == "crashed":
            self._study.settle(trial, told.kind, told.reason)
        else:
            self._study.fail(trial, told.kind, told.reason, told.seconds)

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
        left = max(0, self._study.target - len(finished))
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
                self._study.beat()


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
    """Where to read on."""
    return f"see {log.relative_to(main_root()).as_posix()}"


def _sweep() -> None:
    """Remove the folders of workers whose study was killed on this machine."""
    for old in WORK.glob(f"{socket.gethostname()}-*-*"):
        pid = int(old.name.split("-")[-2])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(old, ignore_errors=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
