"""The predicted random search: it knows the space, its error is stated, and it is no better than its points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.decision import evidence
from stages.report import random_search
from stages.report.equal_cost import compare
from tests.helpers.study_tables import STUDY, trial_rows, write_tables


def studied(folder: Path, count: int) -> evidence.Evidence:
    write_tables(folder, trial_rows(count))
    read = evidence.read(folder)
    assert read is not None
    return read


def test_the_model_predicts_trials_that_it_has_not_seen(tmp_path: Path) -> None:
    model = random_search.fit(studied(tmp_path, 16))
    assert model.error is not None
    assert model.error < 0.5 * model.spread, "mAP50 of these trials grows with the epochs, and the model sees it"


def test_a_search_costs_what_its_points_cost_and_grows_with_the_cost(tmp_path: Path) -> None:
    model = random_search.fit(studied(tmp_path, 16))
    band = model.searches(model.epochs, 40, [10, 40])
    early, late = band.at(10), band.at(40)
    assert early is not None
    assert late is not None
    assert early[1] < late[1] <= model.values.max() + 4 * model.noise
    assert set(model.epochs) == {2, 3, 4, 5}
    assert np.corrcoef(model.epochs, model.seconds)[0, 1] > 0.5


def test_few_trials_have_no_error_of_the_model(tmp_path: Path) -> None:
    assert random_search.fit(studied(tmp_path, 4)).error is None


def test_the_newest_trials_that_were_all_pruned_do_not_hide_the_complete_ones(tmp_path: Path) -> None:
    rows = trial_rows(150)
    for row in rows[20:]:
        row |= {"state": "pruned", "mAP50": 0.2, "epochs_trained": 1}
    write_tables(tmp_path, rows)
    read = evidence.read(tmp_path)
    assert read is not None
    model = random_search.fit(read)
    assert model.error is not None
    assert model.spread > 0


def test_a_training_that_breaks_a_limit_costs_and_has_no_value(tmp_path: Path) -> None:
    rows = trial_rows(16)
    for row in rows:
        row["ms_per_image"] = row["imgsz"] / 10
    write_tables(tmp_path, rows, study={**STUDY, "limits": {"ms_per_image": 15}})
    read = evidence.read(tmp_path)
    assert read is not None
    kept = max(row.value or 0.0 for row in read.finished if not read.breaks(row))
    curves = compare(read, 64).curves["seconds of training"]
    assert curves["Optuna"].best[-1] == kept < max(row.value or 0.0 for row in read.finished)


def test_the_table_compares_all_methods_at_the_same_cost(tmp_path: Path) -> None:
    costs = compare(studied(tmp_path, 16), 64)
    assert "| random search, predicted" in costs.table().splitlines()[0]
    for cost, marks in costs.marks.items():
        at = costs.bands[cost].at(marks["the whole study"])
        assert at is not None
        assert at[0] <= at[1] <= at[2]
        assert costs.curves[cost]["Optuna"].at(marks["the whole study"]) == pytest.approx(0.8, abs=0.05)
