"""Build studies and results of trainings for the tests of this folder."""

from __future__ import annotations

import copy
from typing import Any

from optuna.trial import TrialState

from stages.experiments.finished import FinishedTraining
from stages.params import file as params_file
from stages.params.schema import Limits, Params
from stages.search.identity import identity
from stages.search.study import Study
from stages.services.storage import open_storage
from tests.helpers.project import SOURCE

CONTENT = params_file.read(SOURCE / "params.yaml")


def params_with(**changes: Any) -> Params:
    """Return params.yaml with other values; `tune__trials` is a key of a group."""
    content = copy.deepcopy(CONTENT)
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (content[group] if group else content)[name] = value
    return params_file.validate(content)


def study_with(**changes: Any) -> Study:
    """Return a study of params.yaml with other values."""
    params = params_with(**changes)
    return Study(params, identity(params, "data", {"stages/train.py": "1"}), open_storage(None))


def result(name: str = "a-run", source: str = "grid", value: float = 0.5, **changes: Any) -> FinishedTraining:
    """Return a finished training with these values of training keys."""
    metrics = {"mAP50": value, "recall": 0.4, "train_seconds": 9.0, "step": 4.0}
    return FinishedTraining(name, source, {**params_with().training(), **changes}, metrics)


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.trials()]


NO_LIMITS = Limits(ms_per_image=None, model_mb=None, train_seconds=None)


def limits(**given: float) -> dict[str, float | None]:
    """Return the group `tune.limits` of params.yaml with these limits."""
    return {**NO_LIMITS.model_dump(), **given}
