"""What repeated trainings can say: intervals, the difference of two settings, and how small a difference is seen.

Trainings of two settings with the same seed are a pair: they share the order of the images, so the difference within a
pair varies less than either. Student's t, as in any textbook; `detectable` is the power of that test (Cohen,
Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2) solved for the effect.
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
VISIBLE = 0.0005  # of mAP50: a smaller difference vanishes in three digits

Judgement = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Estimate:
    """A mean, and its 95 % interval by Student's t.

    Attributes:
        mean: Of the values.
        low, high: The interval; minus and plus infinity where one value tells of no spread.
        sd: Standard deviation of the values; not a number where there is one.
        n: How many values; 0 for a number that no seed moves, whose interval is the number itself.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, -self.high, -self.low, self.sd, self.n)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values that are normally distributed, with its interval.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("no values to estimate a mean from")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, -math.inf, math.inf, math.nan, 1)
    sd = statistics.stdev(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, sd, len(values))


def difference(of: Mapping[int, float], than: Mapping[int, float]) -> Estimate | None:
    """How much greater `of` is than `than`, seed by seed; None where they share no seed.

    Args:
        of: A value for each seed.
        than: The same of the other setting.
    """
    shared = sorted(of.keys() & than.keys())
    return estimate([of[seed] - than[seed] for seed in shared]) if shared else None


def judge(found: Estimate) -> Judgement:
    """Whether a difference is one: its interval does not hold 0. With no true difference 1 of 40 is called better.

    A difference of two numbers that no seed moves (n is 0) is one where it does not vanish in three digits.
    """
    least = 0.0 if found.n else VISIBLE
    if found.low > least:
        return "better"
    return "worse" if found.high < -least else "not distinguishable"


def detectable(sd: float, n: int) -> float | None:
    """The true difference that n pairs are called different for in 80 of 100 cases; None for fewer than two pairs.

    Args:
        sd: Standard deviation of the differences within the pairs.
        n: How many pairs.
    """
    if n < 2 or not math.isfinite(sd):
        return None
    critical = float(t.ppf((1 + LEVEL) / 2, n - 1))
    effect = brentq(lambda d: float(nct.sf(critical, n - 1, d * math.sqrt(n))) - POWER, 1e-6, 40)
    return float(effect) * sd


@dataclass(frozen=True)
class Noise:
    """How much results differ that differ in the seed alone.

    Attributes:
        sd: Standard deviation, pooled over settings.
        freedom: Its degrees of freedom.
    """

    sd: float
    freedom: int

    def margin(self) -> float:
        """How far one training may be below another without being worse, by a one-sided test at 5 %."""
        return float(t.ppf(0.95, self.freedom)) * math.sqrt(2) * self.sd


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """The noise within groups of results of one setting each; None where no group has two."""
    spread = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    freedom = sum(count for _, count in spread)
    if not freedom:
        return None
    return Noise(math.sqrt(sum(variance * count for variance, count in spread) / freedom), freedom)
