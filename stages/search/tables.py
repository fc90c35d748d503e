"""The tables of a study: trials.csv and history.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from stages.base.tables import write_table
from stages.search.limits import costs
from stages.services.storage import FINISHED, OBJECTIVE, broken_limits

LOST = "its process or machine has stopped"

COLUMNS = (
    "number",
    "name",
    "source",
    "state",
    OBJECTIVE,
    "best",
    "seconds",
    "epochs_trained",
    "ms_per_image",
    "model_mb",
)


def table(trials: Iterable[FrozenTrial], keys: Sequence[str]) -> str:
    """Return the trials as comma-separated values, one row each.

    Columns: number; name (in DVC and MLflow); source (sampler, enqueued, baseline, grid, tuned, confirmation; trial, of
    another study); state; mAP50 (0 to 1; of a pruned trial, its last); best (so far, of those that keep the limits);
    seconds of training; epochs_trained; ms_per_image (milliseconds); model_mb (megabytes); the searched keys; breaks
    (the limits that the trial does not keep); reason (of a failure).
    """
    rows = []
    best = -math.inf
    for trial in trials:
        if trial.state == TrialState.WAITING:
            continue
        facts = trial.user_attrs
        value = trial.value if trial.state in FINISHED else None
        if trial.state == TrialState.COMPLETE and not broken_limits(trial):
            best = max(best, trial.value or 0.0)
        epochs = facts.get("epochs") if trial.state == TrialState.COMPLETE else trial.last_step
        row = [trial.number, facts.get("name", ""), facts.get("source", ""), trial.state.name.lower(), value]
        cost = costs(trial)
        row += [best if best > -math.inf else None, facts.get("seconds"), epochs]
        row += [cost.get("ms_per_image"), cost.get("model_mb")]
        row += [trial.params.get(key) for key in keys]
        lost = LOST if trial.state == TrialState.FAIL else ""
        rows.append([*row, " ".join(broken_limits(trial)) or None, facts.get("reason", lost)])
    return write_table([*COLUMNS, *keys, "breaks", "reason"], rows)


def history(trials: Iterable[FrozenTrial]) -> str:
    """Return the finished trials as comma-separated values for plots: number, mAP50, and the best so far (0 to 1)."""
    rows = []
    best = 0.0
    for trial in trials:
        if trial.state in FINISHED and trial.value is not None:
            may_be_best = trial.state == TrialState.COMPLETE and not broken_limits(trial)
            best = max(best, trial.value if may_be_best else 0.0)
            rows.append((trial.number, trial.value, best))
    return write_table(("number", OBJECTIVE, "best"), rows)
