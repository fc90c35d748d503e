"""Average precision (AP) by COCO's definition, for all objects and for small, medium and large ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data.boxes import SIZES, box_area
from stages.detector.matching import match
from stages.detector.predictions import ImagePredictions

RECALLS = np.linspace(0, 1, 101)
THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Accuracy:
    """The accuracy for the objects of one class and one size.

    Attributes:
        label: The class from 0; None is the mean over the classes that have such objects.
        size: A key of SIZES.
        objects: The number of true objects.
        ap50: AP at IoU 0.5, 0 to 1; None without such an object.
        ap50_95: The mean AP at IoU 0.5, 0.55, ..., 0.95, 0 to 1; None without such an object.
    """

    label: int | None
    size: str
    objects: int
    ap50: float | None
    ap50_95: float | None


def average_precision(correct: NDArray[np.bool_], objects: int) -> float:
    """Return the AP, 0 to 1: the mean of the precision at the recalls 0, 0.01, ..., 1, as in pycocotools.

    The precision at a recall is the greatest one at this recall or a higher one.

    Args:
        correct: Whether each prediction finds an object, from high to low confidence, of shape (predictions,).
        objects: The number of true objects, at least 1.
    """
    if not len(correct):
        return 0.0
    found = np.cumsum(correct)
    precision = np.maximum.accumulate((found / np.arange(1, len(correct) + 1))[::-1])[::-1]
    places = np.searchsorted(found / objects, RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def accuracies(images: Sequence[ImagePredictions], classes: int) -> list[Accuracy]:
    """Return the accuracy for each size: first the mean over the classes, then each class.

    As in pycocotools, an object of another size is ignored, and so is a prediction that finds such an object, or that
    finds none and is itself of another size.

    Args:
        images: The images of a split.
        classes: The number of classes.
    """
    confidences, labels, correct, kept = _predictions(images)
    truths = np.concatenate([np.zeros(0, np.int64), *(image.truth_classes for image in images)])
    areas = np.concatenate([np.zeros(0), *(box_area(image.truth_boxes) for image in images)])
    order = np.argsort(-confidences, kind="stable")
    rows = []
    for question, (size, (low, high)) in enumerate(SIZES.items()):
        is_size = (areas >= low) & (areas <= high)
        of_size = []
        for label in range(classes):
            objects = int((is_size & (truths == label)).sum())
            if not objects:
                of_size.append(Accuracy(label, size, 0, None, None))
                continue
            mine = order[labels[order] == label]
            values = [
                average_precision(hits[mine[counts[mine]]], objects)
                for hits, counts in zip(correct[question], kept[question], strict=True)
            ]
            of_size.append(Accuracy(label, size, objects, values[0], float(np.mean(values))))
        rows += [_mean(size, of_size), *of_size]
    return rows


def _predictions(images: Sequence[ImagePredictions]) -> tuple[NDArray[Any], ...]:
    """Return the confidence and the class of each prediction; whether it is correct, and whether it counts.

    The last two have the shape (sizes, thresholds, predictions).
    """
    shape = len(SIZES), len(THRESHOLDS), 0
    parts: list[tuple[NDArray[Any], ...]] = [
        (np.zeros(0), np.zeros(0, np.int64), np.zeros(shape, bool), np.zeros(shape, bool))
    ]
    for image in images:
        ignored, outside = _is_other_size(image.truth_boxes), _is_other_size(image.boxes)
        found = match(image.overlaps * image.same_class, THRESHOLDS, ignored)
        is_found = found >= 0
        is_ignored = np.where(is_found, False, outside[:, None, :])
        if len(image.truth_classes):
            of_object = ignored[np.arange(len(SIZES))[:, None, None], found]
            is_ignored = np.where(is_found, of_object, is_ignored)
        parts.append((image.confidences, image.classes, is_found & ~is_ignored, ~is_ignored))
    return tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))


def _is_other_size(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each box is not of each size, of shape (sizes, boxes)."""
    areas = box_area(boxes)
    return np.array([(areas < low) | (areas > high) for low, high in SIZES.values()])


def _mean(size: str, rows: Sequence[Accuracy]) -> Accuracy:
    values = [(row.ap50, row.ap50_95) for row in rows if row.ap50 is not None and row.ap50_95 is not None]
    if not values:
        return Accuracy(None, size, 0, None, None)
    ap50, ap50_95 = np.mean(values, axis=0)
    return Accuracy(None, size, sum(row.objects for row in rows), float(ap50), float(ap50_95))
