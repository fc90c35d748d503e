"""Limits of a study: which trials break them, who is the best, and what the samplers learn."""

from __future__ import annotations

import csv
import io
import warnings
from typing import Any

import pytest
from optuna.trial import Trial

from stages.search.convergence import Converged
from stages.search.limits import costs, why_none_keeps
from stages.search.next_trial import next_trial
from stages.search.second_seed import contenders
from stages.search.study import Study
from stages.search.summary import summary
from stages.search.tables import history, table
from tests.unit.search.studies import limits, params_with, result, study_with
from tests.unit.search.test_second_seed import NOISE


def cost_of(point: dict[str, Any]) -> dict[str, float]:
    """Return the cost of a made-up training: ten pixels take a millisecond."""
    return {"ms_per_image": point["imgsz"] / 10, "model_mb": 6.2}


def value_of(point: dict[str, Any]) -> float:
    return 0.3 + 0.05 * point["epochs"] + 0.1 * (point["imgsz"] == 160) - 20 * abs(point["lr0"] - 0.001)


def ask(study: Study) -> Trial:
    trial = next_trial(study)
    assert trial is not None
    return trial


def train(study: Study, count: int) -> Study:
    for _ in range(count):
        trial = ask(study)
        study.complete(trial, {"mAP50": value_of(trial.params), **cost_of(trial.params)}, 9.0)
    return study


def start_of(study: Study) -> Study:
    study.enqueue(study.space.start)
    return study


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_the_best_keeps_the_limit_though_a_costlier_trial_is_better(sampler: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*constraint.*")
        study = start_of(study_with(tune__sampler=sampler, tune__patience=None, tune__limits=limits(ms_per_image=14)))
        train(study, 14)
    best = study.best()
    assert best is not None
    assert best.params["imgsz"] == 128
    assert max(study.complete_trials(), key=lambda trial: trial.value or 0.0).params["imgsz"] == 160
    assert all(trial.params["imgsz"] == 128 for trial in contenders(study, NOISE))
    summed = summary(study, params_with(tune__limits=limits(ms_per_image=14)).tune)
    assert summed["limits"] == {"ms_per_image": 14}
    assert summed["best"]["number"] == best.number


def test_the_gaussian_process_learns_which_settings_break_a_limit() -> None:
    counts = {}
    for limit in (14.0, 100.0):
        study = study_with(tune__sampler="gp", tune__patience=None, tune__limits=limits(ms_per_image=limit))
        train(start_of(study), 12)
        counts[limit] = sum(trial.params["imgsz"] == 160 for trial in study.trials()[1:])
    assert counts[14.0] <= 3
    assert counts[100.0] >= 7, "without the limit, the costlier images are the better ones"


def test_a_trial_that_breaks_a_limit_is_marked_everywhere_and_raises_no_best_so_far() -> None:
    study = train(start_of(study_with(tune__limits=limits(ms_per_image=14, train_seconds=100))), 1)
    (trial,) = study.trials()
    assert trial.constraints == {"ms_per_image": 2.0, "train_seconds": -91.0}
    assert study.limits.broken(costs(trial)) == "ms_per_image 16 > 14"
    (row,) = csv.DictReader(io.StringIO(table([trial], ["imgsz"])))
    assert (row["breaks"], row["best"], row["ms_per_image"], row["model_mb"]) == ("ms_per_image", "", "16.0", "6.2")
    assert history([trial]).splitlines()[1].endswith(",0.0")
    assert study.best() is None


def test_a_limit_that_no_setting_keeps_is_a_line_with_the_least_cost_and_ends_the_study() -> None:
    study = start_of(study_with(tune__trials=40, tune__limits=limits(ms_per_image=1)))
    with pytest.raises(Converged):
        train(study, 40)
    assert len(study.complete_trials()) < 25
    assert why_none_keeps(study.complete_trials(), study.limits) == (
        "no trial keeps tune.limits: ms_per_image at most 1 (least 12.8)"
    )
    assert why_none_keeps([], study.limits) == ""


def test_other_limits_are_another_study_and_none_is_the_study_as_before() -> None:
    first, second = study_with(), study_with(tune__limits=limits(model_mb=5))
    assert first.name != second.name
    assert "limits" not in first.identity


def test_results_from_elsewhere_count_if_their_cost_is_known() -> None:
    study = study_with(tune__limits=limits(ms_per_image=14, train_seconds=100))
    unknown, known = result("unknown", imgsz=128), result("known", imgsz=160)
    known.metrics.update(cost_of({"imgsz": 160}))
    assert study.add_results([unknown, known]) == {"grid": 1}
    (trial,) = study.trials()
    assert trial.user_attrs["name"] == "known"
    assert trial.constraints["ms_per_image"] == 2.0
    assert study.best() is None


def test_a_slower_trial_prunes_none_that_may_be_the_best() -> None:
    def is_pruned(limit: float) -> bool:
        study = start_of(study_with(tune__limits=limits(ms_per_image=limit)))
        first = ask(study)
        for epoch, value in enumerate([0.5, 0.6, 0.7, 0.8], start=1):
            study.report(first, epoch, value)
        study.complete(first, {"mAP50": 0.8, **cost_of(first.params)}, 9.0)
        trial = ask(study)
        return any(
            study.report(trial, epoch, 0.001) for epoch in range(1, study.space.arguments(trial.params)["epochs"])
        )

    assert is_pruned(100.0)
    assert not is_pruned(14.0), "the better trial breaks the limit"
