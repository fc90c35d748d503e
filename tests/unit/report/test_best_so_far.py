"""The best value so far: in order, and over many searches."""

from __future__ import annotations

import numpy as np
import pytest

from stages.report.best_so_far import band, curve


def test_the_best_so_far_is_a_step_function_of_the_cost() -> None:
    steps = curve([2, 3, 5], [0.4, 0.3, 0.6])
    assert [steps.at(cost) for cost in (1, 2, 4.9, 5, 10, 99)] == [None, 0.4, 0.4, 0.4, 0.6, 0.6]


def test_a_band_has_the_mean_and_the_range_of_the_searches_at_each_cost() -> None:
    costs, values = np.ones((20, 3)), np.tile([[0.1, 0.3, 0.2], [0.2, 0.2, 0.5]], (10, 1))
    searched = band(costs, values, 3, [1])
    assert searched.at(0.5) is None
    assert searched.at(1) == pytest.approx((0.1, 0.15, 0.2))
    assert searched.at(3) == pytest.approx((0.3, 0.4, 0.5))


def test_a_band_begins_where_nine_of_ten_searches_have_a_result() -> None:
    costs = np.array([[1.0, 9.0]] * 8 + [[5.0, 5.0]] * 2)
    searched = band(costs, np.full((10, 2), 0.4), 10, [1, 5])
    assert searched.at(1) is None
    assert searched.at(5) == pytest.approx((0.4, 0.4, 0.4))


def test_a_band_of_searches_that_cost_more_than_the_whole_is_empty() -> None:
    searched = band(np.full((10, 2), 9.0), np.full((10, 2), 0.4), 5, [5])
    assert searched.at(5) is None
