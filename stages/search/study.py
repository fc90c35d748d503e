"""A study in Optuna's storage: its trials, and how each of them ends.

A trial is a point of the search space and the result at that point. Results that were measured outside the study, on
the same data and with the same code, are trials from the start. So no point is trained twice.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from stages.experiments.finished import FinishedTraining
from stages.experiments.names import AS_IS
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.convergence import RULE_OF_THUMB
from stages.search.distributions import PointKeys
from stages.search.identity import study_name
from stages.search.limits import constraints
from stages.search.note import note_runs
from stages.search.points import SearchSpace
from stages.search.pruning import pruner
from stages.search.sampling import Sampler
from stages.services import storage
from stages.services.storage import FINISHED, IDENTITY, OBJECTIVE, TrialEnded, broken_limits, wait_for_storage

SECOND_SEED = "second_seed"  # the attribute of a study with the results of a second seed
PERMANENT = ("out of memory", "not a number", "refused")  # kinds of failure that come again at the same point


class Study:
    """One study in its storage. Any number of processes and machines may work on it.

    Attributes:
        name: Made from the identity.
        identity: The facts that all trials share.
        is_new: Whether this process has created the study.
        target: The number of finished trials at which the study is complete.
        patience: The number of suggestions without hope after which the study ends by itself; None for never.
        noise: The standard deviation of the objective between seeds.
        limits: What a setting may cost.
        space: The search space.
        storage: The storage.
        optuna_study: The study as Optuna has it.
        excluded: The points that the sampler must not suggest.
        asked: The numbers of all trials that this process has got from Optuna.
        running: The trials that this process trains now, by number.
    """

    @wait_for_storage
    def __init__(
        self, params: Params, identity: Mapping[str, Any], database: RDBStorage, noise: float = RULE_OF_THUMB.sd
    ) -> None:
        """Open the study with this identity, or create it.

        Args:
            params: The content of params.yaml.
            identity: The facts that all trials share.
            database: The storage.
            noise: The standard deviation of the objective between seeds.
        """
        self.patience, self.noise, self.limits = params.tune.patience, noise, params.tune.limits
        self.name, self.identity, self.target = study_name(identity), identity, params.tune.trials
        self.space, self.storage = SearchSpace(params), database
        self.excluded: PointKeys = set()
        self.asked: set[int] = set()
        self.running: dict[int, Trial] = {}
        self.is_new = self.name not in optuna.get_all_study_names(database)
        self.optuna_study = optuna.create_study(
            storage=database,
            study_name=self.name,
            direction="maximize",
            load_if_exists=True,
            sampler=Sampler(
                params.tune.sampler,
                params.tune.seed,
                self.space.distributions,
                self.space.start,
                self.excluded,
                self.limits,
            ),
            pruner=pruner(params.tune.pruner, self.space.distributions, params.epochs),
        )
        if IDENTITY not in self.optuna_study.user_attrs:
            self.optuna_study.set_metric_names([OBJECTIVE])
            self.optuna_study.set_user_attr("start", self.space.start)
            self.optuna_study.set_user_attr(IDENTITY, dict(identity))

    def lock(self) -> AbstractContextManager[None]:
        """Let one process at a time decide on the next trials, on whatever machine it runs."""
        return storage.study_lock(self.storage, self.name)

    # Its trials -------------------------------------------------------------------------------------------------------

    @wait_for_storage
    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number. They must not be changed."""
        return self.optuna_study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """Return the complete and the pruned trials."""
        return [trial for trial in self.trials() if trial.state in FINISHED]

    def complete_trials(self) -> list[FrozenTrial]:
        """Return the complete trials by number."""
        return [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]

    def candidates(self) -> list[FrozenTrial]:
        """Return the trials that may become the best, by number: those that are complete and keep the limits."""
        return [trial for trial in self.complete_trials() if not broken_limits(trial)]

    def best(self) -> FrozenTrial | None:
        """Return the best of the candidates, the first of equal ones.

        If the trial with the greatest objective was trained with a second seed, this is the trial with the greatest
        mean of those that were. Else it is the trial with the greatest objective.
        """
        candidates = self.candidates()
        top = max(candidates, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)
        checked = self.second_seed()
        if top is None or top.number not in checked:
            return top
        return max(
            (trial for trial in candidates if trial.number in checked),
            key=lambda trial: (self.mean(trial), -trial.number),
        )

    def mean(self, trial: FrozenTrial) -> float:
        """Return the mean objective of a complete trial over its seeds, which are one or two."""
        value = trial.value or 0.0
        return statistics.mean([value, self.second_seed().get(trial.number, value)])

    @wait_for_storage
    def second_seed(self) -> dict[int, float]:
        """Return the objective of the trials that were trained with a second seed, by number."""
        return {int(number): value for number, value in self.optuna_study.user_attrs.get(SECOND_SEED, {}).items()}

    @wait_for_storage
    def record_second_seed(self, values: Mapping[int, float]) -> None:
        """Record the objective of trials with a second seed, by number."""
        recorded = {**self.second_seed(), **values}
        self.optuna_study.set_user_attr(SECOND_SEED, {str(number): value for number, value in recorded.items()})

    def objective_at(self, point: Mapping[str, Any]) -> float | None:
        """Return the objective of the trial at a point, or None if there is no result.

        If the trial was pruned, this is its last value. If it failed permanently, this is 0.
        """
        trials = [trial for trial in self.trials() if same(trial.params) == same(point)]
        for state in FINISHED:
            for trial in trials:
                if trial.state == state:
                    return trial.value
        kinds = (trial.user_attrs.get("kind") for trial in trials if trial.state == TrialState.FAIL)
        return 0.0 if any(kind in PERMANENT for kind in kinds) else None

    @wait_for_storage
    def add_results(self, trainings: Iterable[FinishedTraining]) -> Counter[str]:
        """Add the results that were measured outside the study as trials.

        A training is left out if its point is outside the space or has a complete trial, if it is a running trial, or
        if a cost that the study limits was not measured.

        Returns:
            The number of new trials by source.
        """
        new: Counter[str] = Counter()
        with self.lock():
            trials = self.trials()
            complete = {same(trial.params) for trial in trials if trial.state == TrialState.COMPLETE}
            running = {trial.user_attrs.get("name") for trial in trials if trial.state == TrialState.RUNNING}
            for training in trainings:
                point = self.space.point(training.arguments)
                if point is None or same(point) in complete or training.name in running:
                    continue
                if not self.limits.active().keys() <= training.metrics.keys():
                    continue
                complete.add(same(point))
                new[training.source] += 1
                attributes = {
                    "source": training.source,
                    "name": training.name,
                    "metrics": quality(training),
                    "seconds": training.metrics.get("train_seconds"),
                    "epochs": training.arguments["epochs"],
                }
                self.optuna_study.add_trial(
                    create_trial(
                        params=point,
                        distributions=self.space.distributions,
                        value=training.metrics[OBJECTIVE],
                        intermediate_values=dict(enumerate(training.curve, start=1)),
                        user_attrs=attributes,
                        constraints=constraints(training.metrics, self.limits),
                    )
                )
            note_runs(self.storage, self.optuna_study._study_id, self.trials())
        return new

    @wait_for_storage
    def enqueue(self, point: Point) -> bool:
        """Put a point that has no trial yet before all others, and return whether the point waits for its turn."""
        with self.lock():
            states = [trial.state for trial in self.trials() if fixed_key(trial) == same(point)]
            if not states:
                self.optuna_study.enqueue_trial(point, user_attrs={"source": "enqueued"})
        return not states or TrialState.WAITING in states

    # While a trial runs -----------------------------------------------------------------------------------------------

    @wait_for_storage
    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Report the objective after an epoch, and return whether to stop the trial."""
        trial.report(value, epoch)
        return trial.should_prune()

    def send_heartbeats(self) -> None:
        """Record in the storage that the trials of this process are alive."""
        for trial in list(self.running.values()):
            self.storage.record_heartbeat(trial._trial_id)

    # The end of a trial -----------------------------------------------------------------------------------------------

    @wait_for_storage
    def complete(self, trial: Trial | FrozenTrial, metrics: Mapping[str, float], seconds: float) -> None:
        """End a trial whose training came to its end.

        Args:
            trial: The trial.
            metrics: On the validation split, 0 to 1, the objective among them; and ms_per_image and model_mb.
            seconds: Of training.

        Raises:
            TrialEnded: The trial has ended before in another state.
        """
        facts = {"metrics": {name: metrics[name] for name in sorted(metrics)}, "seconds": round(seconds, 1)}
        over = constraints({**metrics, "train_seconds": seconds}, self.limits)
        self._end(trial, TrialState.COMPLETE, facts, metrics[OBJECTIVE], over)
        note_runs(self.storage, self.optuna_study._study_id, [self.trials()[trial.number]])

    @wait_for_storage
    def prune(self, trial: Trial, seconds: float) -> None:
        """End a trial that the pruner has stopped after this time. It raises TrialEnded as `complete` does."""
        self._end(trial, TrialState.PRUNED, {"seconds": round(seconds, 1)})

    @wait_for_storage
    def fail(self, trial: Trial | FrozenTrial, kind: str, reason: str, seconds: float = 0.0) -> None:
        """End a trial without a result. It raises TrialEnded as `complete` does.

        Args:
            trial: The trial.
            kind: One of PERMANENT; or `crashed`, `stalled`, `lost` or `repeated`.
            reason: For the reader of trials.csv.
            seconds: Of training.
        """
        facts = {"kind": kind, "reason": " ".join(reason.split()), "seconds": round(seconds, 1)}
        self._end(trial, TrialState.FAIL, facts)

    def _end(
        self,
        trial: Trial | FrozenTrial,
        state: TrialState,
        facts: Mapping[str, Any],
        value: float | None = None,
        over_limits: Mapping[str, float] | None = None,
    ) -> None:
        self.running.pop(trial.number, None)
        try:
            for key, fact in facts.items():
                self.storage.set_trial_user_attr(trial._trial_id, key, fact)
            for name, over in (over_limits or {}).items():  # set_constraint of a FrozenTrial does not store it
                self.storage.set_trial_system_attr(trial._trial_id, f"{_CONSTRAINTS_KEY}:{name}", over)
            self.optuna_study.tell(trial.number, value, state)
        except (TrialEnded, ValueError) as error:  # `tell` raises ValueError for a trial that has failed
            now = self.trials()[trial.number].state
            if not now.is_finished():
                raise
            if now != state:  # else an earlier attempt came through, and its answer was lost
                raise TrialEnded(f"trial {trial.number} is {now.name.lower()}") from error


def fixed_key(trial: FrozenTrial) -> tuple[tuple[str, str], ...]:
    """Return the key of a trial's point. A trial that waits in the queue has no parameters yet, but a fixed point."""
    return same(trial.system_attrs.get("fixed_params") or trial.params)


def quality(training: FinishedTraining) -> dict[str, float]:
    """Return what a training has reached and costs, without its seconds, its epochs, and the model before it."""
    left_out = ("train_seconds", "step", *AS_IS)
    return {key: value for key, value in training.metrics.items() if key not in left_out}
