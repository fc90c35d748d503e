"""Parameter importances: the right key, and nothing where the trials cannot show any."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from stages.search.importances import importances

SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(2, 5),
    "imgsz": CategoricalDistribution((128, 160)),
    "lr0": FloatDistribution(5e-4, 5e-3, log=True),
}


def trials_of(values: list[float] | None = None, count: int = 16) -> list[FrozenTrial]:
    """Return complete trials at random points. Without values, more epochs are better."""
    random = np.random.default_rng(0)
    trials = []
    for number in range(count):
        epochs, imgsz = int(random.integers(2, 6)), int(random.choice([128, 160]))
        point = {"epochs": epochs, "imgsz": imgsz, "lr0": float(random.uniform(5e-4, 5e-3))}
        value = values[number] if values else 0.5 + 0.06 * epochs + float(random.normal(0, 0.005))
        trials.append(create_trial(params=point, distributions=SPACE, value=value))
    return trials


def test_the_key_that_decides_is_the_most_important_and_all_are_together_1() -> None:
    result = importances(trials_of())
    assert result.keys() == SPACE.keys()
    assert sum(result.values()) == pytest.approx(1)
    assert max(result, key=lambda key: result[key]) == "epochs"


def test_too_few_trials_or_equal_values_have_no_importances() -> None:
    assert importances(trials_of(count=4)) == {}
    assert importances(trials_of([0.5] * 9, 9)) == {}


def test_trials_that_are_not_complete_do_not_count() -> None:
    failed = [create_trial(state=TrialState.FAIL) for _ in range(9)]
    pruned = [
        create_trial(
            state=TrialState.PRUNED, value=0.9, params=trial.params, distributions=SPACE, intermediate_values={1: 0.9}
        )
        for trial in trials_of()
    ]
    assert importances([*trials_of(count=4), *failed, *pruned]) == {}
    assert importances([*trials_of(), *failed, *pruned]) == importances(trials_of())
