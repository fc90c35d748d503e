"""The suggestions of the Gaussian process: they learn, they do not repeat, and they know what runs."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from stages.params.space import same
from stages.search.distributions import PointKeys
from stages.search.sampling import GAIN, Sampler
from tests.unit.search.studies import NO_LIMITS

SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(2, 5),
    "imgsz": CategoricalDistribution((128, 160)),
    "lr0": FloatDistribution(5e-4, 5e-3, log=True),
    "batch": CategoricalDistribution((4, 8)),
    "optimizer": CategoricalDistribution(("SGD", "AdamW")),
}
START = {"epochs": 4, "imgsz": 160, "lr0": 0.004, "batch": 8, "optimizer": "SGD"}


def quality(point: dict[str, Any]) -> float:
    """Return the objective of a made-up training: best with 5 epochs, 160 pixels, lr0 0.001, batch 4 and AdamW."""
    value = 0.9 - 0.08 * (5 - point["epochs"]) - 0.06 * (point["imgsz"] == 128) - 0.1 * (point["batch"] == 8)
    return value - 25 * abs(point["lr0"] - 0.001) - 0.15 * (point["optimizer"] == "SGD")


class Played:
    """A study of made-up trainings."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.excluded: PointKeys = set()
        sampler = Sampler(kind, seed, SPACE, START, self.excluded, NO_LIMITS)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.study.enqueue_trial(START)

    def ask(self) -> optuna.Trial:
        trial = self.study.ask(fixed_distributions=SPACE)
        trial.set_user_attr("epochs", trial.params["epochs"])
        self.excluded.add(same(trial.params))
        return trial

    def train(self, count: int) -> Played:
        for _ in range(count):
            trial = self.ask()
            self.study.tell(trial, quality(trial.params))
        return self


def test_it_comes_closer_to_the_best_than_tpe_and_random_points_in_ten_trials() -> None:
    gp, tpe, random = (
        sum(Played(kind, seed).train(10).study.best_value for seed in range(6)) / 6 for kind in ("gp", "tpe", "random")
    )
    assert gp > 0.88
    assert gp > tpe + 0.02
    assert gp > random + 0.02


@pytest.mark.parametrize("kind", ["auto", "gp"])
def test_the_same_seed_suggests_the_same_points_and_none_twice(kind: str) -> None:
    first, second = (Played(kind).train(12).study.trials for _ in range(2))
    assert [trial.params for trial in first] == [trial.params for trial in second]
    assert len({same(trial.params) for trial in first}) == 12


def test_each_suggestion_says_what_it_was_expected_to_gain_and_the_gain_falls() -> None:
    trials = Played("gp").train(14).study.trials
    gains = [trial.user_attrs[GAIN] for trial in trials[1:]]
    assert GAIN not in trials[0].user_attrs, "params.yaml is not a suggestion"
    assert gains[-1] < gains[0]


def test_workers_that_ask_at_once_get_different_points() -> None:
    played = Played("gp").train(4)
    points = [played.ask().params for _ in range(4)]
    assert len({same(point) for point in points}) == 4


def test_pruned_trials_teach_the_sampler_to_stay_away() -> None:
    """Every trial with batch 8 is stopped after an epoch, far below the others."""
    played = Played("gp").train(1)
    for _ in range(12):
        trial = played.ask()
        if trial.params["batch"] == 8:
            trial.report(0.01, 1)
            played.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.report(0.3, 1)
            played.study.tell(trial, quality(trial.params))
    assert sum(trial.params["batch"] == 8 for trial in played.study.trials[-6:]) <= 1


def test_without_any_result_the_points_are_random() -> None:
    played = Played("gp")
    points = [played.ask().params for _ in range(3)]
    assert points[0] == START
    assert len({same(point) for point in points}) == 3


def test_auto_is_tpe_after_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.search.sampling.MAX_GP", 6)
    trials = Played("auto").train(10).study.trials
    assert [GAIN in trial.user_attrs for trial in trials] == [False] + [True] * 6 + [False] * 3
