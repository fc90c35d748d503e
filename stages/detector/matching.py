"""Match predictions to true objects as COCO's evaluation does (pycocotools' `evaluateImg`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def match(
    overlaps: NDArray[np.float64], thresholds: NDArray[np.float64], ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the object that each prediction finds.

    The most confident prediction chooses first. It takes the object with the greatest overlap among those that are not
    taken; an ignored object only if it reaches no other.

    Args:
        overlaps: IoU of each prediction (the most confident first) with each object, of shape (predictions, objects).
            It must be 0 where the classes differ.
        thresholds: The least IoU of a match, of shape (thresholds,), each over 0.
        ignored: The objects to ignore, for each of several questions, of shape (questions, objects). None is one
            question without ignored objects.

    Returns:
        Indices of objects, or -1, of shape (questions, thresholds, predictions).
    """
    predictions, objects = overlaps.shape
    if ignored is None:
        ignored = np.zeros((1, objects), bool)
    found = np.full((len(ignored), len(thresholds), predictions), -1, np.int64)
    if not objects:
        return found
    free = np.ones((len(ignored), len(thresholds), objects), bool)
    regular = ~ignored[:, None, :]
    for number in np.flatnonzero(overlaps.max(axis=1, initial=0) >= thresholds.min()):
        fits = free & (overlaps[number] >= thresholds[:, None])
        first_choice = fits & regular
        fits = np.where(first_choice.any(axis=2, keepdims=True), first_choice, fits)
        scores = np.where(fits, overlaps[number], -1.0)
        best = objects - 1 - scores[..., ::-1].argmax(axis=2)  # the last of equal ones, as in pycocotools
        question, threshold = np.nonzero(fits.any(axis=2))
        chosen = best[question, threshold]
        found[question, threshold, number] = chosen
        free[question, threshold, chosen] = False
    return found
