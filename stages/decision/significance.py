"""Statistics of repeated trainings: intervals, differences between settings, and the smallest detectable difference.

Trainings of two settings with the same seed are a pair: they share the order of the images, so the difference within a
pair varies less than each result does. The intervals use Student's t. `detectable` solves the power of that test for
the effect (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq
from scipy.stats import nct, t

LEVEL = 0.95
POWER = 0.8
VISIBLE = 0.0005  # of mAP50: a smaller difference does not show in three digits

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Estimate:
    """A mean, and its 95 % interval by Student's t.

    Attributes:
        mean: The mean of the values.
        low, high: The limits of the interval; minus and plus infinity for a single value.
        sd: The standard deviation of the values; NaN for a single value.
        n: The number of values; 0 for a number that does not depend on a seed, whose interval is the number itself.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, -self.high, -self.low, self.sd, self.n)

    def __sub__(self, value: float) -> Estimate:
        return Estimate(self.mean - value, self.low - value, self.high - value, self.sd, self.n)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of normally distributed values, with its interval.

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("no values to estimate a mean from")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, -math.inf, math.inf, math.nan, 1)
    sd = statistics.stdev(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, sd, len(values))


def difference(values: Mapping[int, float], others: Mapping[int, float]) -> Estimate | None:
    """Return `values` minus `others`, seed by seed; None if they share no seed.

    Args:
        values: The value of one setting for each seed.
        others: The value of the other setting for each seed.
    """
    shared = sorted(values.keys() & others.keys())
    return estimate([values[seed] - others[seed] for seed in shared]) if shared else None


def verdict_of(difference: Estimate) -> Verdict:
    """Return whether a difference is significant: whether its interval excludes 0.

    Without a true difference, 1 of 40 is called better. A difference of two numbers that do not depend on a seed (n is
    0) is significant if it shows in three digits.
    """
    least = 0.0 if difference.n else VISIBLE
    if difference.low > least:
        return "better"
    return "worse" if difference.high < -least else "not distinguishable"


def detectable(sd: float, n: int) -> float | None:
    """Return the true difference that n pairs detect in 80 of 100 cases; None for fewer than two pairs.

    Args:
        sd: The standard deviation of the differences within the pairs.
        n: The number of pairs.
    """
    if n < 2 or not math.isfinite(sd):
        return None
    critical = float(t.ppf((1 + LEVEL) / 2, n - 1))
    effect = brentq(lambda d: float(nct.sf(critical, n - 1, d * math.sqrt(n))) - POWER, 1e-6, 40)
    return float(effect) * sd
