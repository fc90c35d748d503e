"""When a study ends by itself."""

from __future__ import annotations

import pytest

from stages.search.convergence import Converged, check_convergence
from stages.search.next_trial import next_trial
from stages.search.sampling import GAIN
from stages.search.study import Study
from tests.unit.search.studies import study_with


def studied(*gains: float, patience: int | None = 3) -> Study:
    study = study_with(tune__trials=20, tune__patience=patience, tune__sampler="random")
    for gain in gains:
        trial = next_trial(study)
        assert trial is not None
        trial.set_user_attr(GAIN, gain)
        study.complete(trial, {"mAP50": 0.5}, 9.0)
    return study


def test_three_suggestions_in_a_row_below_a_quarter_of_the_noise_end_a_study() -> None:
    with pytest.raises(Converged, match=r"last 3 suggestions was expected to gain at most 0\.004, .* \(0\.020\)"):
        next_trial(studied(0.1, 0.004, 0.003, 0.001))


@pytest.mark.parametrize("gains", [(0.004, 0.004), (0.004, 0.05, 0.004), (0.006, 0.004, 0.004)])
def test_fewer_suggestions_or_a_greater_one_among_the_last_do_not(gains: tuple[float, ...]) -> None:
    assert next_trial(studied(*gains)) is not None


def test_patience_null_never_ends_a_study() -> None:
    assert next_trial(studied(0.001, 0.001, 0.001, 0.001, patience=None)) is not None


def test_a_lost_trial_is_repeated_before_the_study_ends() -> None:
    study = studied(0.004, 0.004, 0.004)
    study.optuna_study.enqueue_trial({"epochs": 5, "imgsz": 160, "lr0": 0.001, "batch": 4, "scale": 0.1})
    assert next_trial(study) is not None
    with pytest.raises(Converged):
        check_convergence(study.trials(), 3, 0.02)
