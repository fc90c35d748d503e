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
        kinds: The kind of each prediction, in their order, of shape (predictions,); empty for a correct one.
        repairs: The object that a prediction would find without its error, or -1; of shape (predictions,). An object
            has one such prediction at most, the most confident one.
        missed: Whether an object has neither a correct prediction nor a repair, of shape (objects,).
    """

    kinds: NDArray[np.str_]
    repairs: NDArray[np.int64]
    missed: NDArray[np.bool_]

    def count(self, kind: str) -> int:
        """Return the number of errors of a kind."""
        return int(self.missed.sum() if kind == MISSED else (self.kinds == kind).sum())


def image_errors(image: ImagePredictions) -> ImageErrors:
    """Return the errors in an image.

    A wrong prediction is the first of these: `localisation` (IoU 0.1 to 0.5 with an object of its class), `class` (IoU
    from 0.5 with an object of another class), `duplicate` (IoU from 0.5 with an object of its class that a more
    confident prediction has found), `background` (IoU up to 0.1 with every object), `both` (anything else: IoU over 0.1
    and under 0.5 with an object of another class). An object is `missed` if it is not found, and no prediction has an
    error of localisation or class at it.
    """
    overlaps, same = image.overlaps, image.same_class
    wrong = image.matched < 0
    found = np.zeros(len(image.truth_classes), bool)
    found[image.matched[~wrong]] = True
    of_class, of_others = overlaps * same, overlaps * ~same
    greatest = of_class.max(axis=1, initial=0)
    is_kind = {
        LOCALISATION: (greatest >= BACKGROUND_IOU) & (greatest <= IOU),
        CLASS: of_others.max(axis=1, initial=0) >= IOU,
        DUPLICATE: (of_class * found).max(axis=1, initial=0) >= IOU,
        BACKGROUND: overlaps.max(axis=1, initial=0) <= BACKGROUND_IOU,
    }
    kinds = np.select([~wrong, *is_kind.values()], ["", *is_kind], BOTH)
    repairs = np.full(len(kinds), -1, np.int64)
    usable = np.zeros_like(found)
    if len(found):
        at = np.where(kinds == CLASS, of_others.argmax(axis=1), of_class.argmax(axis=1))
        able = np.flatnonzero(np.isin(kinds, (CLASS, LOCALISATION)) & ~found[at])
        repaired, first = np.unique(at[able], return_index=True)  # the first is the most confident one
        repairs[able[first]] = repaired
        usable[repaired] = True
    return ImageErrors(kinds, repairs, ~found & ~usable)


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
    kinds = np.concatenate([np.zeros(0, "U12"), *(error.kinds for error in errors)])[order]
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
