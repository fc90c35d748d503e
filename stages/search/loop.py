"""The search: it gives trials to the workers and records their outcomes in the study."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import suppress

from optuna.trial import FrozenTrial, Trial, TrialState

from stages.base.failures import Failure
from stages.base.formatting import duration, words
from stages.search.convergence import Converged
from stages.search.limits import costs
from stages.search.next_trial import next_trial
from stages.search.recovery import settle
from stages.search.sampling import Exhausted
from stages.search.study import Study
from stages.services.storage import FINISHED, HEARTBEAT, OBJECTIVE, StorageUnavailable, TrialEnded
from stages.tracking.study_mirror import StudyMirror
from stages.workers.launcher import Launcher
from stages.workers.messages import Done, EpochEnded, Failed, Outcome, Stopped, Task
from stages.workers.pool import LOGS, MAX_FAILURES, WorkerPool, log_of


class Search:
    """A search that trains trials of a study until the study has as many as its target."""

    def __init__(self, study: Study, timeout: float | None, launcher: Launcher, mirror: StudyMirror) -> None:
        """Prepare the search without starting it.

        Args:
            study: The study.
            timeout: The time in seconds after which no trial is started, or None.
            launcher: The source of the workers.
            mirror: The mirror of the study in MLflow.
        """
        self._study, self._mirror = study, mirror
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self._pool = WorkerPool(launcher, self._on_unfinished)
        self._trials: dict[str, Trial] = {}
        self._has_ended = False
        self._ended = threading.Event()

    def run(self) -> None:
        """Search until the target is reached, the time is over, the space is exhausted, or the study has converged.

        Raises:
            Failure: Three trials in a row failed in the same way, the storage cannot be used, or the dvc command that
                started this process has ended.
        """
        threading.Thread(target=self._send_heartbeats, daemon=True).start()
        try:
            with self._pool:
                self._search()
        finally:
            self._ended.set()

    def _search(self) -> None:
        is_waiting = False
        while True:
            self._pool.parent_command.check()
            may_continue = self._fill_pool()
            if not self._pool.has_running_task:
                if not may_continue or len(self._study.finished()) >= self._study.target:
                    return
                if not is_waiting:
                    print(_reason_to_wait(self._pool.has_free_worker), flush=True)
                is_waiting = True
            for task, outcome in self._pool.receive(self._on_epoch):
                self._on_outcome(task.name, outcome)

    def _fill_pool(self) -> bool:
        """Give each free worker a trial, and return whether there may be more trials later."""
        while not self._has_ended and (self._deadline is None or time.monotonic() < self._deadline):
            if not self._pool.has_free_worker:
                return True
            try:
                trial = next_trial(self._study)
            except (Exhausted, Converged) as reason:
                print(reason, flush=True)
                self._has_ended = True
                break
            if trial is None:
                return True
            name = trial.user_attrs["name"]
            self._trials[name] = trial
            self._mirror.begin(self._frozen(trial))
            arguments = self._study.space.arguments(trial.params)
            self._pool.submit(Task(name, dict(trial.params), arguments, LOGS / f"{name}.log"))
        return False

    def _on_epoch(self, task: Task, epoch: EpochEnded) -> bool:
        """Record an epoch, and return whether to stop the trial."""
        self._mirror.epoch(task.name, epoch.number, epoch.metrics)
        try:
            return self._study.report(self._trials[task.name], epoch.number, epoch.metrics[OBJECTIVE])
        except TrialEnded:
            return True

    def _on_outcome(self, name: str, outcome: Outcome) -> None:
        """Record and print the outcome of a trial."""
        trial = self._trials[name]
        try:
            self._record(trial, outcome)
        except TrialEnded:
            print(
                f"trial {trial.number}: another machine failed it, because its heartbeat was missing; "
                "its point is tried again",
                flush=True,
            )
            return
        frozen = self._frozen(trial)
        self._mirror.finished(frozen)
        print(self._line(frozen), flush=True)
        if self._pool.is_repeated_failure(outcome) and isinstance(outcome, Failed):
            raise Failure(
                f"the study is stopped: {MAX_FAILURES} trials in a row failed ({outcome.kind}): {outcome.reason}; "
                f"see {log_of(name)}"
            )

    def _record(self, trial: Trial, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            self._study.complete(trial, outcome.metrics, outcome.train_seconds)
        elif isinstance(outcome, Stopped):
            self._study.prune(trial, outcome.seconds)
        elif outcome.kind in ("crashed", "lost", "stalled"):
            settle(self._study, trial, outcome.kind, outcome.reason, outcome.kind == "lost")
        else:
            self._study.fail(trial, outcome.kind, outcome.reason, outcome.seconds)

    def _on_unfinished(self, task: Task) -> None:
        trial = self._trials[task.name]
        with suppress(TrialEnded, Failure):  # then the next study recovers the trial
            settle(self._study, trial, "lost", "the study was stopped")
            self._mirror.finished(self._frozen(trial))

    def _line(self, trial: FrozenTrial) -> str:
        """Return a line with the point and the outcome of a trial, the best trial, and the work that is left."""
        parts = [f"trial {trial.number}: {words(trial.params)}: "]
        seconds = trial.user_attrs.get("seconds") or 0.0
        if trial.state in FINISHED:
            over = self._study.limits.broken(costs(trial)) if trial.state == TrialState.COMPLETE else ""
            parts.append(f"mAP50 {trial.value or 0.0:.3f}, {trial.state.name.lower()}, {seconds:.0f} s")
            parts.append(f", breaks a limit ({over})" if over else "")
        else:
            reason, log = trial.user_attrs.get("reason", ""), log_of(trial.user_attrs["name"])
            parts.append(f"failed after {seconds:.0f} s: {reason}; see {log}")
        best, finished = self._study.best(), self._study.finished()
        if best is not None:
            parts.append(f"; best {best.value:.3f} (trial {best.number})")
        left = max(0, self._study.target - len(finished))
        times = [trial.user_attrs["seconds"] for trial in finished if trial.user_attrs.get("seconds")]
        if left and times:
            rounds = -(-left // self._pool.size)
            parts.append(f"; {left} left, about {duration(rounds * statistics.mean(times))}")
        return "".join(parts)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.trials()[trial.number]

    def _send_heartbeats(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with suppress(*StorageUnavailable):  # the next heartbeat may succeed
                self._study.send_heartbeats()


def _reason_to_wait(has_free_worker: bool) -> str:
    if has_free_worker:
        return "other processes train the trials that are left; waiting for them"
    return "no worker is ready yet; waiting for one"
