"""The search under way: points from the study to the workers, and what comes of them back into it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from optuna.trial import FrozenTrial, Trial

from stages.base.failures import Failure
from stages.base.formatting import duration, words
from stages.experiments.workshop import Origin
from stages.search.sampling import Exhausted
from stages.search.study import Study
from stages.services.storage import FINISHED, HEARTBEAT, OBJECTIVE, Broken, GivenUp
from stages.tracking.study_mirror import StudyMirror
from stages.workers.messages import Done, EpochEnded, Failed, Over, Place, Stopped, Task
from stages.workers.pool import IN_A_ROW, LOGS, Crew, log_of


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
        self._study, self._mirror = study, mirror
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._crew = Crew(places, origin, self._lost)
        self._trials: dict[str, Trial] = {}
        self._exhausted = False
        self._ended = threading.Event()

    def run(self) -> None:
        """Search until the target is reached, the time is over, or the space is exhausted.

        Raises:
            Failure: Three trials in a row failed in the same way, the storage is gone, or the DVC that started this.
        """
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            with self._crew:
                self._search()
        finally:
            self._ended.set()

    def _lost(self, task: Task) -> None:
        trial = self._trials[task.name]
        with suppress(GivenUp, Failure):  # then the next study finds that this process is gone
            self._study.settle(trial, "lost", "the study was stopped")
            self._mirror.finished(self._frozen(trial))

    def _search(self) -> None:
        waiting = False
        while True:
            self._crew.above.check()
            more = self._hand_out()
            if not self._crew.is_at_work:
                if not more or len(self._study.finished()) >= self._study.target:
                    return
                if not waiting:
                    print("the trials that are left are being trained elsewhere; waiting for them", flush=True)
                waiting = True
                time.sleep(1)
                continue
            for task, told in self._crew.hear(self._judge):
                self._over(task.name, told)

    def _hand_out(self) -> bool:
        """Give each free worker a trial; returns whether there may be more to do."""
        while self._crew.is_free:
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
            name = trial.user_attrs["name"]
            self._trials[name] = trial
            self._mirror.begin(self._frozen(trial))
            self._crew.begin(Task(name, dict(trial.params), self._study.arguments(trial.params), LOGS / f"{name}.log"))
        return True

    def _judge(self, task: Task, epoch: EpochEnded) -> bool:
        """Note an epoch; returns whether the trial is to be stopped."""
        self._mirror.epoch(task.name, epoch.number, epoch.metrics)
        try:
            return self._study.report(self._trials[task.name], epoch.number, epoch.metrics[OBJECTIVE])
        except GivenUp:
            return True

    def _over(self, name: str, told: Over) -> None:
        """Note what came of a trial."""
        trial = self._trials[name]
        try:
            self._note(trial, told)
        except GivenUp:
            print(f"trial {trial.number}: another machine took it for dead; its point is tried again", flush=True)
            return
        frozen = self._frozen(trial)
        self._mirror.finished(frozen)
        print(self._line(frozen), flush=True)
        if self._crew.is_hopeless(told) and isinstance(told, Failed):
            raise Failure(
                f"the study is stopped: {IN_A_ROW} trials in a row failed ({told.kind}): {told.reason}; "
                f"see {log_of(name)}"
            )

    def _note(self, trial: Trial, told: Over) -> None:
        if isinstance(told, Done):
            self._study.complete(trial, told.metrics, told.train_seconds)
        elif isinstance(told, Stopped):
            self._study.prune(trial, told.seconds)
        elif told.kind == "crashed":
            self._study.settle(trial, told.kind, told.reason)
        else:
            self._study.fail(trial, told.kind, told.reason, told.seconds)

    def _line(self, trial: FrozenTrial) -> str:
        """What a trial was, what came of it, and how much is left."""
        parts = [f"trial {trial.number}: {words(trial.params)}: "]
        seconds = trial.user_attrs.get("seconds") or 0.0
        if trial.state in FINISHED:
            parts.append(f"mAP50 {trial.value or 0.0:.3f}, {trial.state.name.lower()}, {seconds:.0f} s")
        else:
            why, log = trial.user_attrs.get("reason", ""), log_of(trial.user_attrs["name"])
            parts.append(f"failed after {seconds:.0f} s: {why}; see {log}")
        best, finished = self._study.best(), self._study.finished()
        if best is not None:
            parts.append(f"; best {best.value:.3f} (trial {best.number})")
        left = max(0, self._study.target - len(finished))
        times = [trial.user_attrs["seconds"] for trial in finished if trial.user_attrs.get("seconds")]
        if left and times:
            rounds = -(-left // self._crew.size)
            parts.append(f"; {left} left, about {duration(rounds * statistics.mean(times))}")
        return "".join(parts)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.trials()[trial.number]

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with suppress(*Broken):  # the next one may come through
                self._study.beat()
