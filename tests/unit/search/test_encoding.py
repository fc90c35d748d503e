"""Points as rows of numbers: order, steps, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from stages.params.space import same
from stages.search.encoding import Encoding

SPACE: dict[str, BaseDistribution] = {
    "epochs": IntDistribution(2, 5),
    "imgsz": CategoricalDistribution((640, 320, 1280)),
    "lr0": FloatDistribution(1e-4, 1e-2, log=True),
    "scale": FloatDistribution(0.0, 0.5, step=0.1),
    "optimizer": CategoricalDistribution(("SGD", "AdamW", "RAdam")),
    "nbs": IntDistribution(1, 64, log=True),
    "seed": IntDistribution(0, 100_000),
    "momentum": FloatDistribution(0.9, 0.9),
}
POINT = {"epochs": 4, "imgsz": 640, "lr0": 1e-3, "scale": 0.2, "optimizer": "AdamW", "nbs": 8, "seed": 50_000,
         "momentum": 0.9}  # fmt: skip


def test_ordered_values_lie_between_0_and_1_and_choices_that_are_numbers_are_ordered() -> None:
    row = Encoding(SPACE).row(POINT)
    assert row == pytest.approx([2 / 3, 0.5, 0.5, 0.4, 1.0, 0.5, 0.5, 0.0])


def test_a_row_becomes_the_point_that_it_came_from() -> None:
    encoding = Encoding(SPACE)
    for row in encoding.random(np.random.default_rng(0), 50):
        point = encoding.point(row)
        assert same(encoding.point(encoding.row(point))) == same(point)
        for key, distribution in SPACE.items():
            assert distribution._contains(distribution.to_internal_repr(point[key]))


def test_a_value_outside_the_space_becomes_the_nearest_one() -> None:
    row = Encoding(SPACE).row({**POINT, "epochs": 99, "lr0": 1e-9, "optimizer": "Adam", "imgsz": 96, "scale": None})
    assert list(row[:5]) == [1.0, 0.0, 0.0, 0.0, -1.0]


def test_snapped_rows_are_in_the_space() -> None:
    encoding = Encoding(SPACE)
    rows = encoding.snapped(np.random.default_rng(0).normal(0.5, 1, (50, len(SPACE))))
    assert rows == pytest.approx(encoding.snapped(rows))
    assert set(np.round(rows[:, 0] * 3, 9)) == {0, 1, 2, 3}
    assert set(rows[:, 4]) == {0, 1, 2}


def test_random_rows_have_each_value_equally_often() -> None:
    encoding = Encoding(SPACE)
    rows = encoding.random(np.random.default_rng(0), 4000)
    epochs = encoding.numbers("epochs", rows)
    assert [np.mean(epochs == value) for value in (2, 3, 4, 5)] == pytest.approx([0.25] * 4, abs=0.03)
