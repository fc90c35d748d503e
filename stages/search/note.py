"""Notes of trials on the page of Optuna's dashboard: the names of a trial's run and experiment.

The dashboard keeps its notes among the system attributes of the study. These are the keys of optuna-dashboard 0.21,
whose own `save_note` needs the package and a live trial.
"""

from __future__ import annotations

from collections.abc import Iterable

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


def note_runs(storage: BaseStorage, study_id: int, trials: Iterable[FrozenTrial]) -> None:
    """Give each complete trial that has no note one with the names of its run and its experiment.

    A note that a user has written stays.
    """
    attributes = storage.get_study_system_attrs(study_id)
    for trial in trials:
        version = f"dashboard:{trial._trial_id}:note_ver"
        if trial.state == TrialState.COMPLETE and "name" in trial.user_attrs and version not in attributes:
            storage.set_study_system_attr(study_id, f"dashboard:{trial._trial_id}:note_str:0", _text(trial))
            storage.set_study_system_attr(study_id, version, 1)  # last: without it there is no note


def _text(trial: FrozenTrial) -> str:
    name = trial.user_attrs["name"]
    lines = [f"MLflow: run `{name}`"]
    if trial.user_attrs.get("source") != "baseline":  # a baseline is a commit, and no experiment
        lines += [f"DVC: experiment `{name}`, taken with `dvc exp apply {name}`"]
    return "\n\n".join(lines)
