"""The forecast: it agrees with scikit-learn's Gaussian process, and learns from curves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from stages.search import forecast as module
from stages.search.forecast import Forecast, Observations, expected_improvement

RANDOM = np.random.default_rng(0)


def observed(rows: list[list[float]], shares: list[float], values: list[float]) -> Observations:
    return Observations(np.array(rows), np.array(shares), np.array(values))


def test_with_one_set_of_hyperparameters_it_is_scikit_learns_gaussian_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 1)
    monkeypatch.setattr(module, "SLOPE", 0.0)
    rows, values = RANDOM.random((9, 3)), RANDOM.random(9)
    forecast = Forecast(Observations(rows, np.ones(9), values), [False] * 3)
    kept = forecast._kept
    kernel = ConstantKernel(kept.amplitude[0] ** 2) * Matern(kept.length[0, :3], nu=2.5)
    kernel += ConstantKernel(module.MEAN**2)
    reference = GaussianProcessRegressor(kernel, alpha=kept.noise[0] ** 2, optimizer=None)
    reference.fit(rows, values - module.CENTRE)
    others = RANDOM.random((5, 3))
    mean, deviation = reference.predict(others, return_std=True)
    assert forecast.at(others)[0] == pytest.approx(mean + module.CENTRE, abs=1e-6)
    assert forecast.at(others)[1] == pytest.approx(deviation, abs=1e-5)


def test_a_curve_that_rises_faster_is_forecast_to_end_higher() -> None:
    known = observed([[0.5], [0.5], [0.5]], [0.25, 0.5, 1.0], [0.2, 0.4, 0.7])
    fast = known + observed([[0.9], [0.9]], [0.25, 0.5], [0.3, 0.55])
    slow = known + observed([[0.9], [0.9]], [0.25, 0.5], [0.05, 0.1])
    here = np.array([[0.9]])
    before, high, low = (Forecast(each, [False]).at(here) for each in (known, fast, slow))
    assert low[0][0] < before[0][0] < high[0][0]


def test_values_without_an_order_are_equally_far_from_each_other() -> None:
    known = observed([[0.0], [1.0], [2.0]], [1.0] * 3, [0.2, 0.8, 0.3])
    mean, deviation = Forecast(known, [True]).at(np.array([[0.0], [2.0], [3.0]]))
    assert mean[0] < mean[1] < 0.5
    assert deviation[2] > deviation[0]


def test_the_expected_improvement_is_the_mean_of_the_gains() -> None:
    draws = RANDOM.normal(0.6, 0.1, 200_000)
    gain = expected_improvement(np.array([0.6]), np.array([0.1]), np.array([0.65]))[0]
    assert gain == pytest.approx(np.maximum(draws - 0.65, 0).mean(), rel=0.03)
