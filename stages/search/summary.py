"""The summary of a study, for study.json."""

from __future__ import annotations

from collections import Counter
from typing import Any

from optuna.trial import TrialState

from stages.params.schema import Tune
from stages.search.importances import importances
from stages.search.study import Study
from stages.services.storage import FINISHED, OBJECTIVE


def summary(study: Study, tune: Tune) -> dict[str, Any]:
    """Return the identity, the settings and the results of a study.

    Args:
        study: The study.
        tune: The group `tune` of params.yaml.

    Returns:
        The facts of the identity, and: name; sampler; pruner; trials (their number by state); sources (the number of
        finished trials by source); start (the point of params.yaml when the study was created, and its objective or
        None); best (the best trial, or None); second_seed (the objective of trials that were trained with a second
        seed, by number); importances (by searched key, 0 to 1; empty if they are not known).
    """
    trials, best, start = study.trials(), study.best(), study.optuna_study.user_attrs["start"]
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    return {
        "name": study.name,
        **study.identity,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "trials": dict(Counter(trial.state.name.lower() for trial in begun)),
        "sources": dict(Counter(trial.user_attrs.get("source", "") for trial in begun if trial.state in FINISHED)),
        "start": {"params": start, OBJECTIVE: study.objective_at(start)},
        "best": None
        if best is None
        else {
            "number": best.number,
            "name": best.user_attrs.get("name", ""),
            "params": best.params,
            OBJECTIVE: best.value,
            "seconds": best.user_attrs.get("seconds"),
        },
        "second_seed": study.second_seed(),
        "importances": importances(trials),
    }
