"""The best value so far: in order, and in random order."""

from __future__ import annotations

import pytest

from stages.report.best_so_far import curve, random_orders


def test_the_best_so_far_is_a_step_function_of_the_cost() -> None:
    steps = curve([2, 3, 5], [0.4, 0.3, 0.6])
    assert [steps.at(cost) for cost in (1, 2, 4.9, 5, 10, 99)] == [None, 0.4, 0.4, 0.4, 0.6, 0.6]


def test_random_orders_begin_between_the_values_and_end_at_the_best() -> None:
    band = random_orders([1] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], [1, 3])
    assert band.at(0) is None
    first, last = band.at(1), band.at(5)
    assert first is not None
    assert first[1] == pytest.approx(0.3, abs=0.03)
    assert last == pytest.approx((0.5, 0.5, 0.5))
    third = band.at(3)
    assert third is not None
    assert third[1] == pytest.approx(0.45, abs=0.03)  # the mean of the greatest of three of five
