"""Suggest the next setting of a study: where the forecast expects the greatest gain for its cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.params.space import Point
from stages.search.curves import Training, observations
from stages.search.encoding import Encoding, Floats
from stages.search.forecast import Forecast, Observations, expected_improvement

RANDOM = 256  # candidates drawn from the whole space
NEAR = 48  # candidates around each of the best settings
BEST = 3  # settings around which candidates are drawn


@dataclass(frozen=True)
class Belief:
    """What is believed about a space before anything was measured.

    The best setting is expected near the values of params.yaml, but with the most epochs and pixels of the space. Each
    key is normally distributed around that with the standard deviation WIDTH. The belief fades as the trainings grow in
    number (piBO, Hvarfner and others, arXiv 2204.11051). A training takes time in proportion to its epochs and to the
    square of its pixels.

    Attributes:
        row: The centre, shape (keys,).
    """

    row: Floats

    @classmethod
    def around(cls, start: Point, encoding: Encoding) -> Belief:
        """Return the belief for the point of params.yaml."""
        row = encoding.row(start)
        return cls(np.where([key in COSTS for key in encoding.keys], 1.0, row))

    def log_density(self, rows: Floats, is_category: NDArray[np.bool_]) -> Floats:
        """Return the logarithm of the density of rows, up to a constant, shape (n,)."""
        apart = np.where(is_category, rows != self.row, (rows - self.row) ** 2)
        return np.asarray(-0.5 * np.sum(apart / WIDTH**2, axis=1))


def relative_costs(rows: Floats, encoding: Encoding) -> Floats:
    """Return the time of trainings relative to each other, shape (n,)."""
    costs = np.ones(len(rows))
    for key in COSTS.keys() & set(encoding.keys):
        costs *= encoding.numbers(key, rows) ** COSTS[key]
    return costs


@dataclass(frozen=True)
class Suggestion:
    """A setting to train.

    Attributes:
        point: The setting.
        gain: The greatest expected improvement over the best setting so far of all candidates, in mAP50.
    """

    point: Point
    gain: float


COSTS = {"epochs": 1, "imgsz": 2}  # the keys that decide the time of a training, and their exponents
WIDTH = 0.4  # standard deviation of the belief, for a key whose range is 1
WEIGHT = 3.0  # of the belief, beside one training
CHEAP = 0.0  # exponent of the cost by which a gain is divided


def suggest(
    trainings: Sequence[Training],
    encoding: Encoding,
    belief: Belief,
    random: np.random.Generator,
    is_allowed: Callable[[Point], bool],
) -> Suggestion | None:
    """Return the setting with the greatest expected gain for its cost; None if no candidate is allowed.

    A training that runs counts as one that ends where the forecast says, so that workers do not train alike settings.

    Args:
        trainings: All trainings of the study; at least one has reached something.
        encoding: The search space.
        belief: What is believed before the study.
        random: The source of the candidates.
        is_allowed: Whether a point may be suggested.
    """
    observed = observations(trainings, len(encoding.keys))
    running = np.array([training.row for training in trainings if training.is_running])
    forecast = Forecast(observed, encoding.is_category)
    if len(running):
        believed = Observations(running, np.ones(len(running)), forecast.at(running)[0])
        forecast = Forecast(observed + believed, encoding.is_category)
    complete = [training for training in trainings if training.end is not None]
    rows = _candidates(complete, encoding, belief, random)
    mean, deviation = forecast.by_draw(rows)
    levels = forecast.by_draw(np.array([training.row for training in complete]))[0] if complete else mean * 0
    gains = forecast.weights @ expected_improvement(mean, deviation, levels.max(axis=1, keepdims=True))
    scores = np.log(gains + 1e-12) - CHEAP * np.log(relative_costs(rows, encoding))
    scores += WEIGHT / len(trainings) * belief.log_density(rows, encoding.is_category)
    chosen, hopeful = (
        next((index for index in np.argsort(-by, kind="stable") if is_allowed(encoding.point(rows[index]))), None)
        for by in (scores, gains)
    )
    return None if chosen is None else Suggestion(encoding.point(rows[chosen]), float(gains[hopeful]))


def _candidates(
    complete: Sequence[Training], encoding: Encoding, belief: Belief, random: np.random.Generator
) -> Floats:
    """Return rows all over the space, and rows that differ from the best settings in one or a few keys."""
    keys = len(encoding.keys)
    centres = [training.row for training in sorted(complete, key=lambda training: -(training.end or 0.0))[:BEST]]
    parts = [encoding.random(random, RANDOM)]
    for centre in [*centres, belief.row]:
        other = encoding.random(random, NEAR)
        moved = np.where(encoding.is_category, other, centre + random.normal(0, 0.25, (NEAR, keys)))
        moved[NEAR // 2 :] = other[NEAR // 2 :]
        changed = random.random((NEAR, keys)) < 1 / keys
        changed[range(NEAR), random.integers(0, keys, NEAR)] = True
        parts.append(np.where(changed, moved, centre))
    return np.unique(encoding.snapped(np.concatenate(parts)), axis=0)
