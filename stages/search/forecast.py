"""Forecast the end of a training from its setting, its curve so far, and the curves of all other trainings.

The model is a Gaussian process over the setting and the share of the training that is done, as in Freeze-Thaw Bayesian
optimization (Swersky, Snoek and Adams, arXiv 1406.3896), with one Matern 5/2 kernel for both (Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, chapters 2, 4 and 5). With ten trainings, the likelihood alone cannot
decide on the length scales. So the forecast is an average over hyperparameters drawn from a prior, weighted by their
likelihood (Snoek, Larochelle and Adams, arXiv 1206.2944, section 3.2).

Optuna's GPSampler has the same kernel. It knows neither curves nor trainings that were stopped, and chooses one set of
hyperparameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

Floats = NDArray[np.float64]

DRAWS = 32  # hyperparameters drawn from the prior; a power of two, as Sobol's sequence wants
MAX_OBSERVED = 200  # observations that a model takes: with more of them, a forecast would take seconds
KEPT = 6  # of them that a forecast averages over: those with the greatest likelihood

# The prior: the median and the standard deviation of the logarithm. They were chosen by plays on one recorded
# table (benchmarks/search); the spreads leave room for other data. The unit of the objective is mAP50, from 0 to 1.
LENGTH = (0.8, 0.7)  # length scale of a key whose range is 1
LENGTH_OF_SHARE = (0.6, 0.4)
AMPLITUDE = (0.3, 0.7)  # of the differences between settings
NOISE = (0.03, 0.7)  # of a result: another setting just beside it may differ by this much
CENTRE, MEAN = 0.5, 0.3  # mean and standard deviation of the level of all settings
SLOPE = 0.5  # standard deviation of the growth from the start of a training to its end


@dataclass(frozen=True)
class Observations:
    """Measured values of the objective.

    Attributes:
        rows: The settings, as `Encoding.row` returns them, shape (n, keys).
        shares: The share of the training that was done, over 0 to 1, shape (n,).
        values: The objective, shape (n,).
    """

    rows: Floats
    shares: Floats
    values: Floats

    def __add__(self, other: Observations) -> Observations:
        return Observations(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.shares, other.shares]),
            np.concatenate([self.values, other.values]),
        )


class Forecast:
    """The objective at the end of trainings, given what was measured.

    Attributes:
        likely: The numbers of the 2 * KEPT draws of hyperparameters with the greatest likelihood.
        weights: The weights of the KEPT draws that it averages over.
    """

    def __init__(
        self,
        observed: Observations,
        is_category: Sequence[bool] | NDArray[np.bool_],
        among: NDArray[np.int64] | None = None,
    ) -> None:
        """Condition the model on observations.

        Args:
            observed: At least one observation.
            is_category: Whether the values of a key have no order, shape (keys,).
            among: The draws to choose from, such as `likely` of another forecast, which saves half of the time. None
                stands for all draws.
        """
        self._is_category = np.array([*is_category, False])
        self._inputs = np.column_stack([observed.rows, observed.shares])
        prior = _draws(self._inputs.shape[1]).at(np.arange(DRAWS) if among is None else among)
        count = len(observed.values)
        covariance = self._covariance(prior, self._inputs, self._inputs)
        covariance[:, range(count), range(count)] += prior.noise[:, None] ** 2
        factors, residuals = _whitened(covariance, observed.values - CENTRE)
        fit = -0.5 * np.sum(residuals**2, axis=1)
        likelihood = fit - np.sum(np.log(factors[:, range(count), range(count)]), axis=1)
        order = np.argsort(-likelihood)
        best, likely = order[:KEPT], order[: 2 * KEPT]
        weights = np.exp(likelihood[best] - likelihood[best[0]])
        self.likely, self.weights = likely if among is None else among[likely], weights / weights.sum()
        self._kept = prior.at(best)
        self._inverse, self._residuals = np.linalg.inv(factors[best]), residuals[best]

    def by_draw(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return the mean and the standard deviation at the end of trainings, for each of the kept hyperparameters.

        The standard deviation is that of the setting's own level: the noise of a single training is not in it.

        Args:
            rows: Settings, shape (q, keys).

        Returns:
            Two arrays of shape (kept, q); `weights` has the weight of each row.
        """
        ends = np.column_stack([rows, np.ones(len(rows))])
        reduced = self._inverse @ self._covariance(self._kept, self._inputs, ends)
        mean = CENTRE + np.einsum("knq,kn->kq", reduced, self._residuals)
        variance = self._kept.amplitude[:, None] ** 2 + MEAN**2 - np.sum(reduced**2, axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-10))

    def at(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return the mean and the standard deviation at the end of trainings, shape (q,) each."""
        mean, deviation = self.by_draw(rows)
        average = self.weights @ mean
        variance = self.weights @ (deviation**2 + mean**2) - average**2
        return average, np.sqrt(np.maximum(variance, 1e-10))

    @property
    def noise(self) -> float:
        """The standard deviation of a single result around the level of its setting."""
        return float(self.weights @ self._kept.noise)

    def _covariance(self, draws: _Draws, inputs: Floats, others: Floats) -> Floats:
        """Return the covariance between two sets of inputs for each draw, shape (draws, n, m)."""
        apart = inputs[:, None, :] - others[None, :, :]
        squares = np.where(self._is_category, apart != 0, apart**2)
        root = np.sqrt(5 * np.tensordot(draws.length**-2, squares, axes=(1, 2)))
        matern = (1 + root + root**2 / 3) * np.exp(-root)
        rest = (1 - inputs[:, -1])[:, None] * (1 - others[:, -1])[None, :]
        return np.asarray(draws.amplitude[:, None, None] ** 2 * matern + MEAN**2 + SLOPE**2 * rest)


def _whitened(covariance: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the Cholesky factors L of covariances, and the solutions x of L x = values.

    The values stand as one more row and column of the covariance, so that its factor has x as its last row. This takes
    half of the time of a separate solution.

    Args:
        covariance: Shape (draws, n, n).
        values: Shape (n,).

    Returns:
        Arrays of shape (draws, n, n) and (draws, n).
    """
    draws, count, _ = covariance.shape
    bordered = np.empty((draws, count + 1, count + 1))
    bordered[:, :count, :count] = covariance
    bordered[:, count, :count] = bordered[:, :count, count] = values
    bordered[:, count, count] = 1e12  # anything greater than x x; it does not enter L or x
    factors = np.linalg.cholesky(bordered)
    return factors[:, :count, :count], factors[:, count, :count]


def expected_improvement(mean: Floats, deviation: Floats, best: Floats) -> Floats:
    """Return the mean gain over the best (Jones, Schonlau and Welch, Journal of Global Optimization 13, 1998)."""
    z = (mean - best) / deviation
    return np.asarray(deviation * (z * norm.cdf(z) + norm.pdf(z)))


@dataclass(frozen=True)
class _Draws:
    """Hyperparameters.

    Attributes:
        length: The length scale of each key and of the share, shape (draws, keys + 1).
        amplitude, noise: Shape (draws,).
    """

    length: Floats
    amplitude: Floats
    noise: Floats

    def at(self, index: NDArray[np.int64]) -> _Draws:
        return _Draws(self.length[index], self.amplitude[index], self.noise[index])


@cache
def _draws(inputs: int) -> _Draws:
    """Return hyperparameters drawn from the prior, the same ones in each call."""
    uniform = qmc.Sobol(inputs + 2, seed=0).random(DRAWS)
    medians = [LENGTH] * (inputs - 1) + [LENGTH_OF_SHARE, AMPLITUDE, NOISE]
    values = np.exp(norm.ppf(uniform) * [sd for _, sd in medians] + np.log([median for median, _ in medians]))
    return _Draws(values[:, :inputs], values[:, inputs], values[:, inputs + 1])
