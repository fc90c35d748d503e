"""Match predictions to true objects as COCO's evaluation does (pycocotools' `evaluateImg`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU (intersection over union, 0 to 1) of each box with each other box.

    Args:
        first: Boxes as x1, y1, x2, y2, of shape (n, 4).
        second: Boxes of shape (m, 4).

    Returns:
        An array of shape (n, m). The IoU of two boxes without any area is 0.
    """
    corners = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    intersection = corners.clip(min=0).prod(axis=2)
    union = box_area(first)[:, None] + box_area(second)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def box_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas of boxes of shape (n, 4), in the square of their unit."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


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
