"""Random numbers and colours of a drawing."""

from __future__ import annotations

import random

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255 each."""


def between(rng: random.Random, low: float, high: float) -> float:
    """Return a random number from `low` to `high`."""
    return low + (high - low) * rng.random()


def random_colour(rng: random.Random, low: int = 20, high: int = 235) -> Colour:
    """Return a random colour. Each channel is at least `low` and less than `high`."""
    return rng.randrange(low, high), rng.randrange(low, high), rng.randrange(low, high)


def shade(colour: Colour, percent: int) -> Colour:
    """Return a colour made darker (under 100 percent) or lighter."""
    r, g, b = (min(255, c * percent // 100) for c in colour)
    return r, g, b


def similar(rng: random.Random, colour: Colour, spread: int) -> Colour:
    """Return a random colour whose channels differ from those of `colour` by `spread` at most."""
    r, g, b = (min(255, max(0, c + rng.randrange(-spread, spread + 1))) for c in colour)
    return r, g, b
