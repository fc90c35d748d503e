"""Errors of a model by kind, and the mAP50 that each kind costs.

The kinds and the costs are those of TIDE: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020, section 2, with the foreground at IoU 0.5 and the background at IoU 0.1. If several
kinds fit a prediction, the first one in the order of the authors' program (tidecv 1.0.1) counts. A class without any
true object has no AP, as everywhere in this project; in that program it has AP 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.detector.average_precision import average_precision
from stages.detector.predictions import IOU, ImagePredictions

BACKGROUND_IOU = 0.1  # a prediction with no more overlap is on the background

KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = KINDS


@dataclass(frozen=True)
class ImageErrors:
    """The errors in one image.

    Attributes:
        kinds: The kind of each prediction, in their order; empty for a correct one.
        repairs: The object that a prediction would find without its error, or -1; of shape (predictions,). An object
            has one such prediction at most, the most confident one.
        missed: Whether an object has neither a correct prediction nor a repair, of shape (objects,).
    """

    kinds: tuple[str, ...]
    repairs: NDArray[np.int64]
    missed: NDArray[np.bool_]

    def count(self, kind: str) -> int:
        """Return the number of errors of a kind."""
        return int(self.missed.sum()) if kind == MISSED else self.kinds.count(kind)


def image_errors(image: ImagePredictions) -> ImageErrors:
    """Return the errors in an image.

    A wrong prediction is the first of these: `localisation` (IoU 0.1 to 0.5 with an object of its class), `class` (IoU
    from 0.5 with an object of another class), `duplicate` (IoU from 0.5 with an object of its class that a more
    confident prediction has found), `background` (IoU up to 0.1 with every object), `both` (anything else: IoU over 0.1
    and under 0.5 with an object of another class). An object is `missed` if it is not found, and no prediction has an
    error of localisation or class at it.
    """
    found = np.zeros(len(image.truth_classes), bool)
    found[image.matched[image.matched >= 0]] = True
    kinds, repairs = [], np.full(len(image.confidences), -1, np.int64)
    usable = np.zeros_like(found)
    for number, matched in enumerate(image.matched):
        kind, at = ("", -1) if matched >= 0 else _kind(image.overlaps[number], image.same_class[number], found)
        kinds.append(kind)
        if kind in (CLASS, LOCALISATION) and not found[at] and not usable[at]:
            repairs[number] = at
            usable[at] = True
    return ImageErrors(tuple(kinds), repairs, ~found & ~usable)


def _kind(overlaps: NDArray[np.float64], same: NDArray[np.bool_], found: NDArray[np.bool_]) -> tuple[str, int]:
    """Return the kind of a wrong prediction, and the object of the error."""
    if not len(overlaps):
        return BACKGROUND, -1
    of_class, of_others = np.where(same, overlaps, 0), np.where(same, 0, overlaps)
    if BACKGROUND_IOU <= of_class.max() <= IOU:
        return LOCALISATION, int(of_class.argmax())
    if of_others.max() >= IOU:
        return CLASS, int(of_others.argmax())
    if (of_class * found).max() >= IOU:
        return DUPLICATE, int((of_class * found).argmax())
    return (BACKGROUND, -1) if overlaps.max() <= BACKGROUND_IOU else (BOTH, -1)


def lost_points(images: Sequence[ImagePredictions], errors: Sequence[ImageErrors]) -> dict[str, float]:
    """Return how many points (hundredths) of mAP50 would be gained by repairing all errors of a kind, for each kind.

    Repairs: an error of `class` or `localisation` becomes a correct prediction of the same confidence if it is the
    repair of an object, and is removed if not. A prediction of another kind is removed. A missed object does not count;
    if all objects of a class were missed, the class has AP 1. The costs do not add up to the whole loss: the errors
    hide each other, and no kind stands for a correct prediction that is less confident than a wrong one.

    Args:
        images: The images of a split.
        errors: Their errors, in the same order.

    Returns:
        0 to 100 by kind; all 0 without any true object.
    """
    confidences = np.concatenate([np.zeros(0), *(image.confidences for image in images)])
    order = np.argsort(-confidences, kind="stable")
    labels = np.concatenate([np.zeros(0, np.int64), *(image.classes for image in images)])[order]
    kinds = np.array([kind for error in errors for kind in error.kinds], dtype="U12")[order]
    repaired = [
        np.where(error.repairs >= 0, np.append(image.truth_classes, -1)[error.repairs], -1)
        for image, error in zip(images, errors, strict=True)
    ]
    repaired_as = np.concatenate([np.zeros(0, np.int64), *repaired])[order]
    objects = _count(image.truth_classes for image in images)
    missed = _count(image.truth_classes[error.missed] for image, error in zip(images, errors, strict=True))
    if not objects:
        return dict.fromkeys(KINDS, 0.0)

    def mean_ap(kind: str) -> float:
        is_kind = kinds == kind
        of_class = np.where(is_kind & (repaired_as >= 0), repaired_as, labels)
        correct = (kinds == "") | (is_kind & (repaired_as >= 0))
        kept = ~is_kind | (repaired_as >= 0)
        values = []
        for label, count in objects.items():
            left = count - (missed.get(label, 0) if kind == MISSED else 0)
            values.append(average_precision(correct[kept & (of_class == label)], left) if left else 1.0)
        return float(np.mean(values))

    before = mean_ap("nothing")
    return {kind: max(0.0, 100 * (mean_ap(kind) - before)) for kind in KINDS}


def _count(classes: Iterable[NDArray[np.int64]]) -> Mapping[int, int]:
    labels, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *classes]), return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))
