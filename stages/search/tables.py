"""The tables of a study: trials.csv and history.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from stages.base.tables import write_table
from stages.services.storage import FINISHED, OBJECTIVE

LOST = "its process or machine has stopped"

COLUMNS = ("number", "name", "source", "state", OBJECTIVE, "best", "seconds", "epochs_trained")


def table(trials: Iterable[FrozenTrial], keys: Sequence[str]) -> str:
    """Return the trials as comma-separated values, one row each.

    Columns: number; name (in DVC and MLflow); source (sampler, enqueued, baseline, grid, tuned, confirmation; trial, of
    another study); state; mAP50 (0 to 1; of a pruned trial, its last); best (so far); seconds of training;
    epochs_trained; the searched keys; reason (of a failure).
    """
    rows = []
    best = -math.inf
    for trial in trials:
        if trial.state == TrialState.WAITING:
            continue
        facts = trial.user_attrs
        value = trial.value if trial.state in FINISHED else None
        if trial.state == TrialState.COMPLETE:
            best = max(best, trial.value or 0.0)
        epochs = facts.get("epochs") if trial.state == TrialState.COMPLETE else trial.last_step
        row = [trial.number, facts.get("name", ""), facts.get("source", ""), trial.state.name.lower(), value]
        row += [best if best > -math.inf else None, facts.get("seconds"), epochs]
        row += [trial.params.get(key) for key in keys]
        lost = LOST if trial.state == TrialState.FAIL else ""
        rows.append([*row, facts.get("reason", lost)])
    return write_table([*COLUMNS, *keys, "reason"], rows)


def history(trials: Iterable[FrozenTrial]) -> str:
    """Return the finished trials as comma-separated values for plots: number, mAP50, and the best so far (0 to 1)."""
    rows = []
    best = 0.0
    for trial in trials:
        if trial.state in FINISHED and trial.value is not None:
            best = max(best, trial.value if trial.state == TrialState.COMPLETE else 0.0)
            rows.append((trial.number, trial.value, best))
    return write_table(("number", OBJECTIVE, "best"), rows)
