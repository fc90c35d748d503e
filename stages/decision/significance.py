"""Statistics of repeated trainings: intervals, differences between settings, and the smallest detectable difference.

Trainings of two settings with the same seed are a pair: they share the order of the images, so the difference within a
pair varies less than each result does.

There are two sources of uncertainty. Other seeds would give other models: the interval over seeds is Student's. Other
test images would measure the same models differently: the interval over images is the expanded percentile interval of a
bootstrap, which allows for few images as Student's does (Hesterberg, What Teachers Should Know about the Bootstrap, The
American Statistician 69, 2015), around the measured mean. Each end of the interval over both lies as far from the mean
as the root of the sum of the squares of the two distances. Such an interval holds the true mean at least as often as it
says if the two sources are independent and normal (Banerjee, Approximate confidence interval for linear functions of
means of k populations when the population variances are not equal, Sankhya 22, 1960). The luck of one model with one
image is in both intervals, so the interval over both is a little too wide rather than too narrow (as in Owen and
Eckles, Bootstrapping data arrays of arbitrary order, Annals of Applied Statistics 6, 2012).

If each repeat has another split of the same images, the spread of the repeats already has the test images in it. But
the repeats share images, so their mean is less certain than that of independent repeats. The variance of the mean of n
repeats is then (1/n + test images / training images) times their variance (Nadeau and Bengio, Inference for the
Generalization Error, Machine Learning 52, 2003).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

LEVEL = 0.95
POWER = 0.8
VISIBLE = 0.0005  # of mAP50: a smaller difference does not show in three digits
_QUANTILES = 1000  # of a distribution that a mean is taken over

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Interval:
    """The limits of a 95 % interval; they may be infinite."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)


@dataclass(frozen=True)
class ImageInterval:
    """The 95 % interval of a mean over the test images, by a bootstrap.

    Attributes:
        limits: The interval.
        error: The standard error of the mean over the images.
        n: The number of images.
    """

    limits: Interval
    error: float
    n: int


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and its 95 % intervals.

    Attributes:
        mean: The mean of the values.
        seeds: The interval over seeds by Student's t; infinite for a single value.
        sd: The standard deviation of the values; NaN for a single value.
        n: The number of values; 0 for a number that does not depend on a seed, whose interval is the number itself.
        images: The interval over the test images; None if it is not known.
        unit: What the values differ in: `seed`, or `split`, which stands for split and seed.
        overlap: Test images over training images, if the values come from splits that share images; else 0.
    """

    mean: float
    seeds: Interval
    sd: float
    n: int
    images: ImageInterval | None = None
    unit: Literal["seed", "split"] = "seed"
    overlap: float = 0.0

    @property
    def interval(self) -> Interval:
        """The interval over seeds and images together; over seeds alone if the one over images is not known."""
        if self.images is None:
            return self.seeds
        limits = self.images.limits
        below = math.hypot(self.mean - self.seeds.low, max(0.0, self.mean - limits.low))
        above = math.hypot(self.seeds.high - self.mean, max(0.0, limits.high - self.mean))
        return Interval(self.mean - below, self.mean + above)

    def __neg__(self) -> Estimate:
        images = self.images and replace(self.images, limits=-self.images.limits)
        return replace(self, mean=-self.mean, seeds=-self.seeds, images=images)

    def __sub__(self, value: float) -> Estimate:
        """Return the difference from a number. Its interval over images is not known: other images change both."""
        seeds = Interval(self.seeds.low - value, self.seeds.high - value)
        return replace(self, mean=self.mean - value, seeds=seeds, images=None)

    def over_images(self, draws: NDArray[np.float64] | None, images: int) -> Estimate:
        """Return the estimate with its interval over the test images.

        The draws are moved so that their mean is that of the estimate: mAP50 of images that repeat is too high, by up
        to a third of the standard error if mAP50 is low.

        Args:
            draws: The mean on each bootstrap draw of the images, of shape (draws,), NaN without an object; None if it
                is not known.
            images: The number of test images.
        """
        if draws is None or images < 2 or np.isfinite(draws).sum() < 2:
            return self
        draws = draws[np.isfinite(draws)]
        correction = math.sqrt(images / (images - 1))
        tail = norm.cdf(-correction * t.ppf((1 + LEVEL) / 2, images - 1))
        low, high = self.mean + np.quantile(draws - draws.mean(), [tail, 1 - tail])
        error = correction * float(draws.std(ddof=1))
        return replace(self, images=ImageInterval(Interval(float(low), float(high)), error, images))


def estimate(values: Sequence[float], overlap: float | None = None) -> Estimate:
    """Return the mean of normally distributed values, with its interval over seeds.

    Args:
        values: At least one value.
        overlap: Test images over training images, if each value has another split of the same images; 0 if each has
            other images; None if all have the same split.

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("no values to estimate a mean from")
    mean, shared = statistics.fmean(values), overlap or 0.0
    unit: Literal["seed", "split"] = "seed" if overlap is None else "split"
    if len(values) == 1:
        return Estimate(mean, Interval(-math.inf, math.inf), math.nan, 1, unit=unit, overlap=shared)
    sd = statistics.stdev(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd * math.sqrt(1 / len(values) + shared)
    return Estimate(mean, Interval(mean - half, mean + half), sd, len(values), unit=unit, overlap=shared)


def difference(
    values: Mapping[int, float], others: Mapping[int, float], overlap: float | None = None
) -> Estimate | None:
    """Return `values` minus `others`, seed by seed; None if they share no seed.

    Args:
        values: The value of one setting for each seed.
        others: The value of the other setting for each seed.
        overlap: As for `estimate`.
    """
    shared = sorted(values.keys() & others.keys())
    return estimate([values[seed] - others[seed] for seed in shared], overlap) if shared else None


def verdict_of(difference: Estimate) -> Verdict:
    """Return whether a difference is significant: whether its interval over seeds and images excludes 0.

    Without a true difference, at most 1 of 40 is called better. A difference of two numbers that do not depend on a
    seed (n is 0) is significant if it shows in three digits.
    """
    least = 0.0 if difference.n else VISIBLE
    if difference.interval.low > least:
        return "better"
    return "worse" if difference.interval.high < -least else "not distinguishable"


def detectable(sd: float, n: int, images: ImageInterval | None = None, overlap: float = 0.0) -> float | None:
    """Return the true difference that n pairs detect in 80 of 100 cases; None for fewer than two pairs.

    This is the power of the test of `verdict_of` (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988,
    chapter 2), solved for the difference. The standard deviation that the n pairs will show is uncertain, so the power
    is a mean over its distribution, which is that of chi-squared. Without images this is the power of the t test.

    Args:
        sd: The standard deviation of the differences within the pairs.
        n: The number of pairs.
        images: The interval of the difference over the test images; None if it is not known.
        overlap: Test images over training images, if the pairs come from splits that share images; else 0.
    """
    if n < 2 or not math.isfinite(sd):
        return None
    half, image_error = (images.limits.width / 2, images.error) if images else (0.0, 0.0)
    if not sd and not image_error:
        return 0.0
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    scale = 1 / n + overlap
    shown = sd * np.sqrt(chi2.ppf(shares, n - 1) / (n - 1) * scale)  # standard errors
    least = np.hypot(float(t.ppf((1 + LEVEL) / 2, n - 1)) * shown, half)  # the mean difference that is called better
    spread = math.hypot(sd * math.sqrt(scale), image_error)
    return float(brentq(lambda d: norm.sf((least - d) / spread).mean() - POWER, 0.0, least.max() + 10 * spread))
