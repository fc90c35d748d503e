"""The check of the best trials with a second seed: who is checked, and who is the best after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from stages.experiments.noise import Noise, measured_noise
from stages.search.next_trial import next_trial
from stages.search.repeats import Repeated, Wanted
from stages.search.second_seed import check_best, contenders, describe
from stages.search.study import Study
from tests.unit.search.studies import result, study_with

NOISE = Noise(0.02, 10)


class MemoryRepeater:
    """Answers with the second value of each trial, without a training."""

    def __init__(self, values: dict[str, float], seeds: range = range(1, 4)) -> None:
        self.values, self.seeds, self.trained = values, seeds, list[str]()

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
        return [], list(wanted)

    def train(self, wanted: Iterable[Wanted], failed: dict[str, str]) -> list[Repeated]:
        self.trained += [repeat.label for repeat in wanted]
        return [(repeat, result(value=self.values[repeat.label])) for repeat in wanted if repeat.label in self.values]


def study_of(*values: float) -> Study:
    study = study_with(tune__trials=9, tune__patience=None)
    for value in values:
        trial = next_trial(study)
        assert trial is not None
        study.complete(trial, {"mAP50": value}, 9.0)
    return study


def best(study: Study) -> int:
    trial = study.best()
    assert trial is not None
    return trial.number


def test_the_best_trials_within_the_noise_are_checked_and_the_best_mean_wins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = study_of(0.5, 0.79, 0.80, 0.78, 0.77)
    repeater: Any = MemoryRepeater({"trial 1": 0.80, "trial 2": 0.72, "trial 3": 0.75})
    check_best(study, NOISE, repeater)
    assert repeater.trained == ["trial 2", "trial 1", "trial 3"]
    assert best(study) == 1
    assert describe(study) == "mean mAP50 of two seeds: trial 1 0.795, trial 2 0.760, trial 3 0.765"
    assert (
        "the noise between seeds could reverse trials 2, 1, 3: training 3 of them with seed 1"
        in capsys.readouterr().out
    )


def test_a_trial_that_is_best_beyond_the_noise_is_not_checked() -> None:
    study = study_of(0.5, 0.9, 0.8)
    assert [trial.number for trial in contenders(study, NOISE)] == [1]
    repeater: Any = MemoryRepeater({})
    check_best(study, NOISE, repeater)
    assert repeater.trained == []
    assert best(study) == 1


def test_a_repeat_that_fails_leaves_the_trial_out_of_the_choice() -> None:
    study = study_of(0.80, 0.79)
    repeater: Any = MemoryRepeater({"trial 0": 0.6})
    check_best(study, NOISE, repeater)
    assert best(study) == 0


def test_no_confirmation_means_no_check() -> None:
    study = study_of(0.80, 0.79)
    repeater: Any = MemoryRepeater({}, seeds=range(0))
    check_best(study, NOISE, repeater)
    assert repeater.trained == []


def test_a_new_trial_above_all_others_is_the_best_until_it_is_checked() -> None:
    study = study_of(0.80, 0.79)
    check_best(study, NOISE, MemoryRepeater({"trial 0": 0.70, "trial 1": 0.78}))  # type: ignore[arg-type]
    assert best(study) == 1
    trial = next_trial(study)
    assert trial is not None
    study.complete(trial, {"mAP50": 0.81}, 9.0)
    assert best(study) == 2


def test_the_noise_is_measured_from_trainings_that_differ_in_the_seed_alone() -> None:
    trainings = [result(value=value, seed=seed) for seed, value in enumerate((0.70, 0.74, 0.72))]
    noise = measured_noise([*trainings, result(value=0.2, lr0=0.001)])
    assert noise is not None
    assert noise.sd == pytest.approx(0.02)
    assert noise.freedom == 2
    assert measured_noise(trainings[:1]) is None
