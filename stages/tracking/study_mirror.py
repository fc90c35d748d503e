"""The mirror of a study in MLflow: a run of the study, and beneath it a run of each trial.

A trial that was measured outside the study has a run of its own already. Where the server cannot be reached the study
goes on, and the mirror is made later from what Optuna and DVC keep.
"""

from __future__ import annotations

import hashlib
import json
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from mlflow.entities import Metric, Param
from optuna.trial import FrozenTrial, TrialState

from stages.base.failures import Failure
from stages.base.git import experiment_name
from stages.experiments import refs
from stages.services.storage import FINISHED, OBJECTIVE, patient
from stages.tracking import record
from stages.tracking.missed import note, pending
from stages.tracking.record import Record
from stages.tracking.store import Run, Store, unusable

BEST = f"best_{OBJECTIVE}"
STATUS = {TrialState.FAIL: "FAILED", TrialState.PRUNED: "KILLED", TrialState.COMPLETE: "FINISHED"}


@dataclass(frozen=True)
class Subject:
    """The study that is mirrored: its name, and what its trials have in common."""

    name: str
    identity: Mapping[str, Any]

    def params(self, trial: FrozenTrial) -> dict[str, str]:
        """The training keys of a trial, as params.yaml has them."""
        return record.flat({**self.identity["fixed"], **trial.params})

    def tags_of(self, trial: FrozenTrial) -> dict[str, str]:
        found = {
            **record.tags(trial.user_attrs.get("commit", ""), self.identity["data"], None, "study"),
            "optuna.study": self.name,
            "optuna.trial": str(trial.number),
            "optuna.state": trial.state.name,
            "optuna.source": trial.user_attrs.get("source", ""),
            "reason": trial.user_attrs.get("reason", ""),
        }
        return {key: value for key, value in found.items() if value}


def is_own(trial: FrozenTrial) -> bool:
    """Whether a trial was trained by the study, and not taken in from elsewhere."""
    return trial.user_attrs.get("source", "sampler") in ("sampler", "enqueued") and "name" in trial.user_attrs


def catch_up(
    target: Store, subject: Subject, trials: Sequence[FrozenTrial], files: Mapping[str, str], status: str = "FINISHED"
) -> int:
    """Mirror what is lacking of a study; what is there is left as it is. Its run is closed with `status`.

    Returns:
        How many trials were lacking.
    """
    known = target.mirrored(subject.name)
    lacking = [trial for trial in trials if trial.state.is_finished() and is_own(trial)]
    lacking = [trial for trial in lacking if trial.user_attrs["name"] not in known]
    kept = refs.experiments()
    for trial in lacking:
        target.write(record_of(subject, trial, kept))
    _write_parent(target, subject, trials, files, status)
    pending(subject.name).unlink(missing_ok=True)
    return len(lacking)


def record_of(subject: Subject, trial: FrozenTrial, kept: Mapping[str, tuple[str, str]]) -> Record:
    """The record of a finished trial: from DVC where it is an experiment, else from Optuna."""
    name = trial.user_attrs["name"]
    if trial.state == TrialState.COMPLETE and name in kept:
        revision, base = kept[name]
        try:
            with refs.kept(revision) as folder:
                found = record.record(folder, name, base, name, None)
                return replace(found, files={}, tags={**found.tags, **subject.tags_of(trial)})
        except Failure:  # it is another's of that name, or damaged: Optuna knows enough
            pass
    points = {(OBJECTIVE, step): value for step, value in trial.intermediate_values.items()}
    for key, value in (trial.user_attrs.get("metrics") or {}).items():
        points[f"val/{key}", 0] = value
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
    """Bring the run of the study up to date: what it searched, the best after each finished trial, its tables."""
    run = target.parent(subject.name)
    client = target.client
    there = {point.step for point in client.get_metric_history(run, BEST)}
    finished = sorted((trial for trial in trials if trial.state in FINISHED), key=_end)
    best: float | None = None
    points = []
    for count, trial in enumerate(finished, start=1):
        if trial.state == TrialState.COMPLETE:
            best = max(best or 0.0, trial.value or 0.0)
        if best is not None and count not in there:
            points.append(Metric(BEST, best, int(_end(trial) * 1000), count))
    about = record.flat({"fixed": subject.identity["fixed"], "space": subject.identity["space"]})
    known = client.get_run(run).data.params
    client.log_batch(run, params=[Param(key, value) for key, value in about.items() if key not in known][:100])
    for start in range(0, len(points), 1000):
        client.log_batch(run, metrics=points[start : start + 1000])
    for key, value in {"data.digest": subject.identity["data"], "dvc.stage": "study"}.items():
        client.set_tag(run, key, value)
    for name, content in files.items():
        client.log_text(run, content, name)
    client.set_terminated(run, status)


def _end(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0


class StudyMirror:
    """The mirror of the study under way, written by a thread of its own: training never waits for a server.

    Where MLflow fails it warns once and is silent; `.mlflow/pending/` then bears the name of the study.
    """

    def __init__(self, subject: Subject, alone: Callable[[], AbstractContextManager[None]]) -> None:
        """Begin the run of the study.

        Args:
            subject: The study.
            alone: Keeps other processes and machines that work on the study from making its run at the same time.
        """
        self._subject, self._alone = subject, alone
        self._events: queue.Queue[Callable[[Store], object] | None] = queue.Queue()
        self._runs: dict[str, Run] = {}
        self._target: Store | None = None
        self._lost = False
        note(subject.name, warned=False)
        self._events.put(lambda target: target.client.update_run(self._parent(target), "RUNNING"))
        self._thread = threading.Thread(target=self._write, name="mirror", daemon=True)
        self._thread.start()

    def begin(self, trial: FrozenTrial) -> None:
        """A trial is being trained."""
        name = trial.user_attrs["name"]

        def work(target: Store) -> None:
            params, tags = self._subject.params(trial), self._subject.tags_of(trial)
            self._runs[name] = Run(target, name, params, tags, target.find(name), self._subject.name)

        self._events.put(work)

    def epoch(self, name: str, number: int, metrics: Mapping[str, float]) -> None:
        """It has ended an epoch."""
        points = {(key, number): value for key, value in metrics.items()}
        self._events.put(lambda target: self._runs[name].log(points))

    def finished(self, trial: FrozenTrial) -> None:
        """It is complete, pruned or failed."""
        name = trial.user_attrs["name"]

        def work(target: Store) -> None:
            target.write(record_of(self._subject, trial, refs.experiments()))
            self._runs.pop(name, None)

        self._events.put(work)

    def close(self, trials: Sequence[FrozenTrial], files: Mapping[str, str], status: str) -> None:
        """Write what is left, catch up on what was missed before, and end."""
        self._events.put(self._parent)
        self._events.put(lambda target: _told(catch_up(target, self._subject, trials, files, status)))
        self._events.put(None)
        self._thread.join()

    def _parent(self, target: Store) -> str:
        """The id of the run of the study; where it is not there, one machine begins it."""
        found = target.find(self._subject.name)
        return str(found.info.run_id) if found is not None else self._begun(target)

    @patient
    def _begun(self, target: Store) -> str:
        with self._alone():
            return target.parent(self._subject.name)

    def _write(self) -> None:
        while (event := self._events.get()) is not None:
            if self._lost:
                continue
            try:
                self._target = self._target or Store()
                event(self._target)
            except Exception as error:  # whatever a store, a driver or a proxy may raise: the study matters more
                self._lost = True
                for name in filter(None, (self._subject.name, experiment_name())):
                    note(name, warned=True)  # the stages that follow need not say it again
                print(
                    f"warning: {unusable(error)}; the study goes on, and `make sync` mirrors it later",
                    file=sys.stderr,
                    flush=True,
                )


def _told(lacking: int) -> None:
    if lacking:
        print(f"MLflow: {lacking} trials mirrored that it had missed", flush=True)
