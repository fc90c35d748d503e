"""The limits of a study: the costs of its trials, and the probability that a setting keeps the limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm

from stages.params.schema import Limits
from stages.search.encoding import Encoding, Floats
from stages.search.forecast import CENTRE, Forecast, Observations

MOST = 66  # newest trials that a model of a cost takes: costs are smooth, and more trials would take time
SPREAD = 1.0  # of the logarithm of a cost: its prior noise is then 3 % of the cost


def costs(trial: FrozenTrial) -> dict[str, float]:
    """Return the costs of a complete trial, by the names of Limits. A cost that was not measured is left out."""
    facts = trial.user_attrs
    measured = {**facts.get("metrics", {}), "train_seconds": facts.get("seconds")}
    return {name: float(measured[name]) for name in Limits.model_fields if measured.get(name) is not None}


def constraints(costs: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """Return how far each cost is over its limit, as Optuna's constraints: a limit is kept at zero and below."""
    return {name: costs[name] - limit for name, limit in limits.active().items()}


def why_none_keeps(complete: Sequence[FrozenTrial], limits: Limits) -> str:
    """Return all limits, each with the least cost of a trial, as text. Call it if no complete trial keeps them all.

    It is empty if there is no complete trial, or no limit.
    """
    active = limits.active()
    if not complete or not active:
        return ""
    least = {name: min(costs(trial)[name] for trial in complete) for name in active}
    wanted = ", ".join(f"{name} at most {limit:g} (least {least[name]:g})" for name, limit in active.items())
    return f"no trial keeps tune.limits: {wanted}"


@dataclass(frozen=True)
class Feasibility:
    """The probability that settings keep all limits, learned from the complete trials of a study.

    The logarithm of each cost over its limit has a model of its own, the same one that forecasts the objective. The
    probability multiplies the expected gain of a setting (Gardner and others, Bayesian Optimization with Inequality
    Constraints, ICML 2014).
    """

    models: tuple[Forecast, ...]

    @classmethod
    def learned(cls, trials: Iterable[FrozenTrial], encoding: Encoding, limits: Limits) -> Feasibility:
        """Fit the models to the newest complete trials."""
        if not limits.active():
            return cls(())
        complete = [
            trial for trial in trials if trial.state == TrialState.COMPLETE and encoding.is_complete(trial.params)
        ]
        measured = [(encoding.row(trial.params), costs(trial)) for trial in complete[-MOST:]]
        if not measured:  # nothing to learn from yet
            return cls(())
        rows = np.array([row for row, _ in measured])
        models = []
        for name, limit in limits.active().items():
            over = [math.log(max(cost[name], 1e-9) / limit) for _, cost in measured]
            observed = Observations(rows, np.ones(len(rows)), CENTRE + SPREAD * np.array(over))
            models.append(Forecast(observed, encoding.is_category))
        return cls(tuple(models))

    def at(self, rows: Floats) -> Floats:
        """Return the probability for settings of shape (q, keys), of shape (q,), 0 to 1."""
        probability = np.ones(len(rows))
        for model in self.models:
            mean, deviation = model.at(rows)
            probability *= norm.cdf((CENTRE - mean) / np.hypot(deviation, model.noise))
        return probability
