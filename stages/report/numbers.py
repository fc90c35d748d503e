"""Format numbers for the report."""

from __future__ import annotations

import math

from stages.decision.significance import Estimate


def fixed(value: float | None, digits: int = 3) -> str:
    """Return a number with this many decimals; `-` for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def bold_if_best(value: float | None, best: float) -> str:
    """Return a number with three decimals, in bold if it is the best."""
    return f"**{fixed(value)}**" if value == best else fixed(value)


def interval(estimate: Estimate, sign: str = "") -> str:
    """Return the 95 % interval of an estimate.

    Args:
        estimate: The estimate.
        sign: `+` shows the sign of positive numbers too.
    """
    if not math.isfinite(estimate.low):
        return "none from one seed"
    return f"{estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}"


def mean(estimate: Estimate) -> str:
    """Return the mean of an estimate, with its interval and the number of values if seeds changed it."""
    if not estimate.n:
        return fixed(estimate.mean)
    if not math.isfinite(estimate.low):
        return f"{estimate.mean:.3f} (n = 1)"
    return f"{estimate.mean:.3f} (95 % interval {interval(estimate)}, n = {estimate.n})"
