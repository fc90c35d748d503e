"""The study: what it is named after, what it asks next, and what becomes of its trials.

A trial is a point of the search space and what came of it. What was measured elsewhere on the same data with the same
code stands among the trials from the start, and no point is trained twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from stages.base.git import commit
from stages.experiments import refs
from stages.experiments.finished import Measured, saved
from stages.experiments.names import trial_name
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.liveness import is_gone, myself
from stages.search.sampling import Exhausted, Sampler, Taken, distribution, pruner, untried
from stages.search.tables import LOST
from stages.services import storage
from stages.services.storage import FINISHED, IDENTITY, OBJECTIVE, GivenUp, patient, retry

ITS_OWN = ("out of memory", "not a number", "refused")  # failures that come again at the same point


def identity(params: Params, data: str, code: Mapping[str, str]) -> dict[str, Any]:
    """What a study's trials have in common; change any of it, and it is another study."""
    found = {
        "objective": f"the greatest {OBJECTIVE} on the validation split",
        "data": data,
        "code": hashlib.sha256(json.dumps(dict(code), sort_keys=True).encode()).hexdigest()[:12],
        "space": {key: dimension.model_dump(exclude_none=True) for key, dimension in params.tune.space.items()},
        "fixed": {key: value for key, value in params.written().items() if key not in params.tune.space},
    }
    return dict(json.loads(json.dumps(found)))  # as the storage gives it back: with lists, not tuples


def name_of(identity: Mapping[str, Any]) -> str:
    return f"tune-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]}"


class Study:
    """One study in its storage. Any number of processes and machines may work on it.

    Attributes:
        name: From its identity.
        identity: What its trials have in common.
        is_new: Whether it was not there before.
        target: Finished trials that it shall have.
    """

    @patient
    def __init__(self, params: Params, identity: Mapping[str, Any], database: RDBStorage) -> None:
        self._params, self.identity, self._storage = params, identity, database
        self.name = name_of(identity)
        self.distributions = {
            key: distribution(dimension, params.whole(key) and dimension.is_whole())
            for key, dimension in params.tune.space.items()
        }
        self.target = params.tune.trials
        self._taken: Taken = set()
        self._asked: set[int] = set()
        self._mine: dict[int, Trial] = {}
        self.is_new = self.name not in optuna.get_all_study_names(database)
        self._study = optuna.create_study(
            storage=database,
            study_name=self.name,
            direction="maximize",
            load_if_exists=True,
            sampler=Sampler(params.tune.sampler, params.tune.seed, self.distributions, self._taken),
            pruner=pruner(params.tune.pruner, params.epochs),
        )
        if IDENTITY not in self._study.user_attrs:
            start = {key: value for key, value in params.written().items() if key in self.distributions}
            self._study.set_metric_names([OBJECTIVE])
            self._study.set_user_attr("start", start)
            self._study.set_user_attr(IDENTITY, dict(identity))

    def differs(self) -> list[str]:
        """What differs from the study that was begun last before this one, in words; nothing where there is none."""
        summaries = optuna.get_all_study_summaries(self._storage, include_best_trial=False)
        known = [summary for summary in summaries if summary.study_name != self.name and IDENTITY in summary.user_attrs]
        if not known:
            return []
        last = max(known, key=lambda summary: summary._study_id).user_attrs[IDENTITY]
        return [key for key in self.identity if self.identity[key] != last.get(key)]

    @patient
    def trials(self) -> list[FrozenTrial]:
        """All trials by number, not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state in FINISHED]

    def best(self) -> FrozenTrial | None:
        """The complete trial with the greatest objective; of equals, the first."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def value(self, point: Mapping[str, Any]) -> float | None:
        """The objective at a point where a trial has been: its last, if it was stopped; 0 if it failed by itself."""
        there = [trial for trial in self.trials() if same(trial.params) == same(point)]
        for state in FINISHED:
            for trial in there:
                if trial.state == state:
                    return trial.value
        failed = (trial.user_attrs.get("kind") for trial in there if trial.state == TrialState.FAIL)
        return 0.0 if any(kind in ITS_OWN for kind in failed) else None

    def summary(self) -> dict[str, Any]:
        """The study in a few facts, for study.json."""
        trials, best, start = self.trials(), self.best(), self._study.user_attrs["start"]
        told = [trial for trial in trials if trial.state != TrialState.WAITING]
        return {
            "name": self.name,
            **self.identity,
            "sampler": self._params.tune.sampler,
            "pruner": self._params.tune.pruner,
            "trials": dict(Counter(trial.state.name.lower() for trial in told)),
            "sources": dict(Counter(trial.user_attrs.get("source", "") for trial in told if trial.state in FINISHED)),
            "start": {"params": start, OBJECTIVE: self.value(start)},
            "best": None
            if best is None
            else {
                "number": best.number,
                "name": best.user_attrs.get("name", ""),
                "params": best.params,
                OBJECTIVE: best.value,
                "seconds": best.user_attrs.get("seconds"),
            },
        }

    def point(self, arguments: Mapping[str, Any]) -> Point | None:
        """The point at which a training with these arguments was; None where it was none of this study."""
        point = {}
        for key, values in self.distributions.items():
            if key not in arguments:
                return None
            value = arguments[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            point[key] = float(value) if isinstance(values, FloatDistribution) and number else value
        if same(resolved({**self._params.written(), **point})) != same(arguments):
            return None
        try:
            create_trial(params=point, distributions=dict(self.distributions), value=0.0)
        except (ValueError, TypeError):  # Optuna's words for a value outside a distribution
            return None
        return point

    # Before the search

    @patient
    def take_in(self, found: Iterable[Measured]) -> Counter[str]:
        """Make trials of what was measured elsewhere; what is among the trials already is left out.

        Returns:
            How many were new, by source.
        """
        new: Counter[str] = Counter()
        with self.alone():
            trials = self.trials()
            known = {same(trial.params) for trial in trials if trial.state == TrialState.COMPLETE}
            under_way = {trial.user_attrs.get("name") for trial in trials if trial.state == TrialState.RUNNING}
            for one in found:
                point = self.point(one.arguments)
                if point is None or same(point) in known or one.name in under_way:
                    continue
                known.add(same(point))
                new[one.source] += 1
                attributes = {
                    "source": one.source,
                    "name": one.name,
                    "metrics": scores(one),
                    "seconds": one.metrics.get("train_seconds"),
                    "epochs": one.arguments["epochs"],
                }
                self._study.add_trial(
                    create_trial(
                        params=point,
                        distributions=dict(self.distributions),
                        value=one.metrics[OBJECTIVE],
                        user_attrs=attributes,
                    )
                )
        return new

    @patient
    def enqueue(self, point: Point) -> bool:
        """Ask for a point before all others, unless somebody has tried it or is about to.

        Returns:
            Whether it was asked for.
        """
        with self.alone():
            known = {same(trial.system_attrs.get("fixed_params") or trial.params) for trial in self.trials()}
            if same(point) in known:
                return False
            self._study.enqueue_trial(point, user_attrs={"source": "enqueued"})
        return True

    @patient
    def recover(self) -> None:
        """Settle trials whose process is gone: what was saved is complete, the rest is failed and tried once more."""
        with self.alone():
            self._recover()

    def _recover(self) -> None:
        self.beat()  # before anybody takes ours for dead: this machine may have slept
        for trial in self.trials():
            if trial.state != TrialState.RUNNING or trial.number in self._mine:
                continue
            if trial.number in self._asked or is_gone(trial):  # also what was asked for when the database went away
                with suppress(GivenUp):  # another process was faster
                    self.settle(trial, "lost", LOST)
        fail_stale_trials(self._study)

    def settle(self, trial: Trial | FrozenTrial, kind: str, reason: str) -> None:
        """End a trial that cannot go on: complete, if it was saved before; else failed, and tried once more."""
        one = saved(trial.user_attrs.get("name", ""))
        if one is not None and same(self.point(one.arguments) or {}) == same(trial.params):
            self.complete(trial, scores(one), one.metrics.get("train_seconds", 0.0))
        else:
            self.fail(trial, kind, reason)
            retry(self._study, self.trials()[trial.number])

    # The search

    @patient
    def ask(self) -> Trial | None:
        """The next trial to train, with its name, or None where no more are needed now.

        Raises:
            Exhausted: Every point of the space has been tried.
        """
        while True:
            with self.alone():
                self._recover()
                trials = self.trials()
                running = sum(trial.state == TrialState.RUNNING for trial in trials)
                if len(self.finished()) + running >= self.target:
                    return None
                self._note_taken(trials)
                waiting = any(trial.state == TrialState.WAITING for trial in trials)
                if not waiting and untried(self.distributions, self._taken) == []:
                    raise Exhausted
                trial = self._study.ask(fixed_distributions=dict(self.distributions))
                self._asked.add(trial.number)
                self._describe(trial)
                self._storage.record_heartbeat(trial._trial_id)
            equal = self._tried_before(trial)
            if equal is None:
                self._mine[trial.number] = trial
                return trial
            self.fail(trial, "repeated", f"the point of trial {equal}, which was there first")

    def _note_taken(self, trials: Iterable[FrozenTrial]) -> None:
        """Points that are not to be suggested: finished, running, or failed by themselves."""
        self._taken.clear()
        for trial in trials:
            given_up = trial.user_attrs.get("kind") in ITS_OWN or "retry_of" in trial.user_attrs
            if trial.state != TrialState.FAIL or given_up:
                self._taken.add(same(trial.system_attrs.get("fixed_params") or trial.params))

    def _describe(self, trial: Trial) -> None:
        arguments = self.arguments(trial.params)
        facts = {
            "name": self._free_name(trial.number),
            "owner": myself(),
            "commit": commit(),
            "epochs": arguments["epochs"],
        }
        if "source" not in trial.user_attrs:
            facts["source"] = "sampler"
        for key, value in facts.items():
            trial.set_user_attr(key, value)

    def _free_name(self, number: int) -> str:
        """The name of a trial; another, where a study of this name in another storage has used it."""
        used = refs.experiments()
        while trial_name(self.name, number) in used:
            number += 1000
        return trial_name(self.name, number)

    def _tried_before(self, trial: Trial) -> int | None:
        """The number of a trial at the same point that another machine began first, or that has finished."""
        for other in self._settled(trial.number):
            if other.number != trial.number and same(other.params) == same(trial.params):
                first = other.state == TrialState.RUNNING and other.number < trial.number
                if first or other.state in FINISHED:
                    return other.number
        return None

    def _settled(self, number: int) -> list[FrozenTrial]:
        """All trials, once those that were begun before have their point: it is written after the trial is."""
        until = time.monotonic() + 5
        while True:
            trials = self.trials()
            earlier = (trial for trial in trials[:number] if trial.state == TrialState.RUNNING)
            if all("owner" in trial.user_attrs for trial in earlier) or time.monotonic() > until:
                return trials
            time.sleep(0.1)

    def arguments(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The training arguments at a point."""
        return resolved({**self._params.written(), **point})

    @patient
    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note the objective after an epoch; returns whether the trial is to be stopped."""
        trial.report(value, epoch)
        return trial.should_prune()

    def beat(self) -> None:
        """Give a sign of life of the trials that run here."""
        for trial in list(self._mine.values()):
            self._storage.record_heartbeat(trial._trial_id)

    @patient
    def complete(self, trial: Trial | FrozenTrial, metrics: dict[str, float], seconds: float) -> None:
        facts = {"metrics": {name: metrics[name] for name in sorted(metrics)}, "seconds": round(seconds, 1)}
        self._end(trial, TrialState.COMPLETE, facts, metrics[OBJECTIVE])

    @patient
    def prune(self, trial: Trial, seconds: float) -> None:
        self._end(trial, TrialState.PRUNED, {"seconds": round(seconds, 1)})

    @patient
    def fail(self, trial: Trial | FrozenTrial, kind: str, reason: str, seconds: float = 0.0) -> None:
        facts = {"kind": kind, "reason": " ".join(reason.split()), "seconds": round(seconds, 1)}
        self._end(trial, TrialState.FAIL, facts)

    def _end(
        self, trial: Trial | FrozenTrial, state: TrialState, facts: Mapping[str, Any], value: float | None = None
    ) -> None:
        """Note what came of a trial, and that it is over.

        Raises:
            GivenUp: It was ended before, in another way.
        """
        self._mine.pop(trial.number, None)
        try:
            for key, fact in facts.items():
                self._storage.set_trial_user_attr(trial._trial_id, key, fact)
            self._study.tell(trial.number, value, state)
        except GivenUp:
            if self.trials()[trial.number].state != state:  # else the answer to the same words was lost
                raise

    def alone(self) -> AbstractContextManager[None]:
        """One process at a time decides what comes next, on whatever machine it runs."""
        return storage.alone(self._storage, self._study._study_id, self.name)


def scores(one: Measured) -> dict[str, float]:
    """The metrics of a training that say how good it is."""
    return {key: value for key, value in one.metrics.items() if key not in ("train_seconds", "step")}
