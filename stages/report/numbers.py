"""Format numbers for the report."""

from __future__ import annotations

import math

from stages.decision.significance import Estimate, Interval
from stages.decision.verdict import counts


def fixed(value: float | None, digits: int = 3) -> str:
    """Return a number with this many decimals; `-` for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def bold_if_best(value: float | None, best: float) -> str:
    """Return a number with three decimals, in bold if it is the best."""
    return f"**{fixed(value)}**" if value == best else fixed(value)


def limits(interval: Interval, sign: str = "") -> str:
    """Return a 95 % interval.

    Args:
        interval: The interval.
        sign: `+` shows the sign of positive numbers too.
    """
    if not math.isfinite(interval.low):
        return "none from one seed"
    return f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"


def intervals(estimate: Estimate, sign: str = "") -> list[str]:
    """Return the intervals of an estimate over seeds, and, if it is known, over test images and over both."""
    over_seeds = limits(estimate.seeds, sign) if estimate.n else "no seed plays a part"
    if estimate.images is None:
        return [over_seeds]
    return [over_seeds, limits(estimate.images.limits, sign), limits(estimate.interval, sign)]


def mean(estimate: Estimate) -> str:
    """Return the mean of an estimate, with its interval and the number of seeds and images if they changed it."""
    if not estimate.n and estimate.images is None:
        return fixed(estimate.mean)
    if not math.isfinite(estimate.interval.low):
        return f"{estimate.mean:.3f} (n = 1)"
    return f"{estimate.mean:.3f} (95 % interval {limits(estimate.interval)}, {counts(estimate)})"
