"""The mirror of a study in MLflow: one run for the study, and a nested run for each of its trials.

A trial whose result comes from a run outside the study has no nested run. If the server cannot be reached, the study
goes on, and the mirror is made later from the data of Optuna and DVC.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from mlflow.entities import Metric
from optuna.trial import FrozenTrial, TrialState

from stages.base.failures import Failure
from stages.base.git import experiment_name
from stages.experiments import refs
from stages.experiments.names import OWN_SOURCES
from stages.services.storage import FINISHED, OBJECTIVE, broken_limits, wait_for_storage
from stages.tracking import record
from stages.tracking.missed import note, pending
from stages.tracking.outage import tolerated
from stages.tracking.record import DIGEST_TAG, Record
from stages.tracking.store import Run, Store

BEST = f"best_{OBJECTIVE}"
STATUS = {TrialState.FAIL: "FAILED", TrialState.PRUNED: "KILLED", TrialState.COMPLETE: "FINISHED"}


@dataclass(frozen=True)
class Subject:
    """A study to mirror: its name, and the identity that its trials share."""

    name: str
    identity: Mapping[str, Any]

    def params(self, trial: FrozenTrial) -> dict[str, str]:
        """Return the training keys of a trial, as in params.yaml."""
        return record.flat({**self.identity["fixed"], **trial.params})

    def tags_of(self, trial: FrozenTrial) -> dict[str, str]:
        """Return the tags of a trial's run."""
        tags = {
            **record.tags(trial.user_attrs.get("commit", ""), self.identity["data"], None, "study"),
            "optuna.study": self.name,
            "optuna.trial": str(trial.number),
            "optuna.state": trial.state.name,
            "optuna.source": trial.user_attrs.get("source", ""),
            "limits.broken": ", ".join(broken_limits(trial)),
            "reason": trial.user_attrs.get("reason", ""),
        }
        return {key: value for key, value in tags.items() if value}


def is_own(trial: FrozenTrial) -> bool:
    """Return whether the study has trained a trial itself, so that the result is not that of another run."""
    return trial.user_attrs.get("source", "sampler") in OWN_SOURCES and "name" in trial.user_attrs


def catch_up(
    target: Store, subject: Subject, trials: Sequence[FrozenTrial], files: Mapping[str, str], status: str = "FINISHED"
) -> int:
    """Mirror the trials of a study that MLflow does not have, and update the run of the study.

    A run that lacks nothing stays as it is.

    Args:
        target: The connection to MLflow.
        subject: The study.
        trials: All trials of the study.
        files: Texts to keep with the run of the study, by file name; empty if the study has not ended just now.
        status: The status of the run of the study: FINISHED, FAILED or KILLED.

    Returns:
        The number of trials that were missing in MLflow.
    """
    mirrored = target.mirrored(subject.name)
    own = [trial for trial in trials if trial.state.is_finished() and is_own(trial)]
    missing = [trial for trial in own if trial.user_attrs["name"] not in mirrored]
    experiments = refs.experiments()
    for trial in missing:
        target.write(record_of(subject, trial, experiments))
    if missing or files or pending(subject.name).is_file() or target.find(subject.name) is None:
        _write_parent(target, subject, trials, files, status)
    pending(subject.name).unlink(missing_ok=True)
    return len(missing)


def record_of(subject: Subject, trial: FrozenTrial, experiments: Mapping[str, tuple[str, str]]) -> Record:
    """Return the record of a finished trial: from DVC if the trial is an experiment, else from Optuna."""
    name = trial.user_attrs["name"]
    if trial.state == TrialState.COMPLETE and name in experiments:
        revision, base = experiments[name]
        try:
            with refs.checkout(revision) as folder:
                run = record.record(folder, name, base, name, None)
                return replace(run, files={}, tags={**run.tags, **subject.tags_of(trial)})
        except Failure:  # the experiment is damaged: Optuna has enough data of the trial
            pass
    points = {(OBJECTIVE, step): value for step, value in trial.intermediate_values.items()}
    for key, value in (trial.user_attrs.get("metrics") or {}).items():
        points["model_mb" if key == "model_mb" else f"val/{key}", 0] = value
    params = subject.params(trial)
    results = [name, trial.state.name, sorted(params.items()), sorted(points.items())]
    if seconds := trial.user_attrs.get("seconds"):
        points["train_seconds", 0] = seconds
    return Record(
        name=name,
        params=params,
        points=points,
        tags=subject.tags_of(trial),
        content=hashlib.sha256(json.dumps(results).encode()).hexdigest(),
        study=subject.name,
        status=STATUS[trial.state],
    )


def _write_parent(
    target: Store, subject: Subject, trials: Sequence[FrozenTrial], files: Mapping[str, str], status: str
) -> None:
    """Update the run of the study: its search space, the best value after each finished trial, and its files."""
    run = target.parent(subject.name)
    client = target.client
    logged = {point.step for point in client.get_metric_history(run, BEST)}
    finished = sorted((trial for trial in trials if trial.state in FINISHED), key=_end)
    best: float | None = None
    points = []
    for count, trial in enumerate(finished, start=1):
        if trial.state == TrialState.COMPLETE and not broken_limits(trial):
            best = max(best or 0.0, trial.value or 0.0)
        if best is not None and count not in logged:
            points.append(Metric(BEST, best, int(_end(trial) * 1000), count))
    about = record.flat({"fixed": subject.identity["fixed"], "space": subject.identity["space"]})
    logged_params = client.get_run(run).data.params
    target.log_params(run, {key: value for key, value in about.items() if key not in logged_params})
    for start in range(0, len(points), 1000):
        client.log_batch(run, metrics=points[start : start + 1000])
    for key, value in {DIGEST_TAG: subject.identity["data"], "dvc.stage": "study"}.items():
        client.set_tag(run, key, value)
    target.log_dataset(run, subject.identity["data"])
    for name, content in files.items():
        client.log_text(run, content, name)
    last = max((int(_end(trial) * 1000) for trial in trials), default=0)
    client.set_terminated(run, status, end_time=None if files else last or None)


def _end(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0


class StudyMirror:
    """The mirror of the running study. A thread of its own writes it, so that no training waits for a server.

    After the first failure of MLflow it warns once, and then does nothing; `.mlflow/pending/` has a note of the study.
    """

    def __init__(self, subject: Subject, lock: Callable[[], AbstractContextManager[None]]) -> None:
        """Start the thread and the run of the study.

        Args:
            subject: The study.
            lock: The lock of the study, so that two processes or machines do not create its run at the same time.
        """
        self._subject, self._lock = subject, lock
        self._events: queue.Queue[Callable[[Store], object] | None] = queue.Queue()
        self._runs: dict[str, Run] = {}
        self._target: Store | None = None
        self._has_failed = False
        note(subject.name, warned=False)
        self._events.put(lambda target: target.client.update_run(self._parent(target), "RUNNING"))
        self._thread = threading.Thread(target=self._write, name="mirror", daemon=True)
        self._thread.start()

    def begin(self, trial: FrozenTrial) -> None:
        """Open the run of a trial."""
        name = trial.user_attrs["name"]

        def work(target: Store) -> None:
            params, tags = self._subject.params(trial), self._subject.tags_of(trial)
            self._runs[name] = Run(target, name, params, tags, target.find(name), self._subject.name)

        self._events.put(work)

    def epoch(self, name: str, number: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch to the run of a trial, by the name of the trial."""
        points = {(key, number): value for key, value in metrics.items()}
        self._events.put(lambda target: self._runs[name].log(points))

    def finished(self, trial: FrozenTrial) -> None:
        """Complete the run of a trial that is complete, pruned or failed."""
        name = trial.user_attrs["name"]

        def work(target: Store) -> None:
            target.write(record_of(self._subject, trial, refs.experiments()))
            self._runs.pop(name, None)

        self._events.put(work)

    def close(self, trials: Sequence[FrozenTrial], files: Mapping[str, str], status: str) -> None:
        """Write the remaining events and the trials that MLflow has missed, close the run and end the thread."""
        self._events.put(self._parent)
        self._events.put(lambda target: _print_missing(catch_up(target, self._subject, trials, files, status)))
        self._events.put(None)
        self._thread.join()

    def _parent(self, target: Store) -> str:
        """Return the id of the run of the study. If there is none, create it."""
        run = target.find(self._subject.name)
        return str(run.info.run_id) if run is not None else self._create_parent(target)

    @wait_for_storage
    def _create_parent(self, target: Store) -> str:
        with self._lock():
            return target.parent(self._subject.name)

    def _write(self) -> None:
        while (event := self._events.get()) is not None:
            if self._has_failed:
                continue
            # The note of the experiment keeps the stages after this one from repeating the warning.
            runs = [name for name in (self._subject.name, experiment_name()) if name]
            with tolerated("{}; the study goes on, and `make sync` mirrors it later", runs) as outage:
                self._target = self._target or Store()
                event(self._target)
            self._has_failed = outage.error is not None


def _print_missing(count: int) -> None:
    if count:
        print(f"MLflow: {count} trials mirrored that it had missed", flush=True)
