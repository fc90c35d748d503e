"""The calibration of confidence: whether 70 % of the predictions with confidence 0.7 are correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.detector.predictions import ImagePredictions, pooled

BINS = 10
SKIPPED = 1  # bins of the lowest confidences that the error leaves out: nearly all predictions, which nobody uses


@dataclass(frozen=True)
class Bin:
    """The predictions in a range of confidence.

    Attributes:
        low, high: The bounds of the range, 0 to 1. The lower one is left out.
        count: The number of predictions.
        confidence: Their mean confidence, 0 to 1.
        correct: The share of correct ones at IoU 0.5, 0 to 1.
    """

    low: float
    high: float
    count: int
    confidence: float
    correct: float


def calibration(images: Sequence[ImagePredictions]) -> list[Bin]:
    """Return the predictions of all classes in ten equal ranges of confidence. Empty ranges are left out."""
    confidences, correct, _ = pooled(images)
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for place in range(BINS):
        chosen = places == place
        if chosen.any():
            low, high = float(edges[place]), float(edges[place + 1])
            mean, share = float(confidences[chosen].mean()), float(correct[chosen].mean())
            bins.append(Bin(low, high, int(chosen.sum()), mean, share))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error, 0 to 1, of the predictions with a confidence over 0.1.

    It is the mean distance between confidence and share of correct predictions, weighted by the number of predictions
    in a range (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 5). None without any
    prediction of such a confidence.
    """
    used = [part for part in bins if part.low >= SKIPPED / BINS]
    total = sum(part.count for part in used)
    if not total:
        return None
    return sum(part.count * abs(part.correct - part.confidence) for part in used) / total
