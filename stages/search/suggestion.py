"""Suggest the next setting of a study: where the forecast expects the greatest gain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.params.space import Point
from stages.search.curves import Training, observations
from stages.search.encoding import ELSEWHERE, Encoding, Floats
from stages.search.forecast import Forecast, Observations, expected_improvement
from stages.search.limits import Feasibility

RANDOM = 256  # candidates drawn from the whole space
NEAR = 48  # candidates around each of the best settings
BEST = 3  # settings around which candidates are drawn

UNKNOWN = 1.0  # the expected gain while nothing is measured: mAP50 is 1 at most

FIDELITIES = ("epochs", "imgsz")  # keys of which more is nearly always better, and costs more


@dataclass(frozen=True)
class Suggestion:
    """A setting to train.

    Attributes:
        point: The setting.
        gain: The greatest expected improvement over the best setting so far of all candidates, in mAP50. If no setting
            so far keeps the limits of the study, this is over 0.
    """

    point: Point
    gain: float


def fullest(start: Point, encoding: Encoding) -> Floats | None:
    """Return the point of params.yaml, with the most epochs and pixels of the space, as a row.

    It is the second setting of a study. A model that knows a single result cannot do better. If params.yaml has a
    category that the space does not have, there is no such point, and this is None.
    """
    row = encoding.row(start)
    if ELSEWHERE in row:
        return None
    return np.where([key in FIDELITIES for key in encoding.keys], 1.0, row)


def suggest(
    trainings: Sequence[Training],
    encoding: Encoding,
    second: Floats | None,
    feasibility: Feasibility,
    random: np.random.Generator,
    is_allowed: Callable[[Point], bool],
) -> Suggestion | None:
    """Return the setting with the greatest expected gain; None if nothing is measured or no candidate is allowed.

    Several workers start at once, so the second setting may be wanted while nothing is measured.

    A training that runs counts as one that ends where the forecast says, so that workers do not train alike settings.

    Args:
        trainings: All trainings of the study.
        encoding: The search space.
        second: The setting that follows the first one, as a row; None lets the forecast choose it.
        feasibility: The probability that a setting keeps the limits of the study.
        random: The source of the candidates.
        is_allowed: Whether a point may be suggested.
    """
    if second is not None and not (len(trainings) == 1 and is_allowed(encoding.point(second))):
        second = None
    observed = observations(trainings, len(encoding.keys))
    if not len(observed.values):
        return Suggestion(encoding.point(second), UNKNOWN) if second is not None else None
    running = np.array([training.row for training in trainings if training.is_running])
    forecast = Forecast(observed, encoding.is_category)
    if len(running):
        believed = Observations(running, np.ones(len(running)), forecast.at(running)[0])
        forecast = Forecast(observed + believed, encoding.is_category)
    kept = [training for training in trainings if training.may_be_best]
    complete = kept or [training for training in trainings if training.end is not None]
    rows = second[None] if second is not None else _candidates(complete, encoding, random)
    mean, deviation = forecast.by_draw(rows)
    levels = forecast.by_draw(np.array([training.row for training in kept]))[0] if kept else mean * 0
    gains = forecast.weights @ expected_improvement(mean, deviation, levels.max(axis=1, keepdims=True))
    gains *= feasibility.at(rows)
    for index in np.argsort(-gains, kind="stable"):
        point = encoding.point(rows[index])
        if is_allowed(point):
            return Suggestion(point, float(gains[index]))
    return None


def _candidates(complete: Sequence[Training], encoding: Encoding, random: np.random.Generator) -> Floats:
    """Return rows all over the space, and rows that differ from the best settings in one or a few keys."""
    keys = len(encoding.keys)
    best = sorted(complete, key=lambda training: -(training.end or 0.0))[:BEST]
    parts = [encoding.random(random, RANDOM)]
    for centre in (training.row for training in best):
        other = encoding.random(random, NEAR)
        moved = np.where(encoding.is_category, other, centre + random.normal(0, 0.25, (NEAR, keys)))
        moved[NEAR // 2 :] = other[NEAR // 2 :]
        changed = random.random((NEAR, keys)) < 1 / keys
        changed[range(NEAR), random.integers(0, keys, NEAR)] = True
        parts.append(np.where(changed, moved, centre))
    return np.unique(encoding.snapped(np.concatenate(parts)), axis=0)
