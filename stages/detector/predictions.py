"""The predictions of a model for one image, beside its true objects: what the other modules of an evaluation read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.data.boxes import box_iou
from stages.data.samples import Box
from stages.detector.matching import match

LIMIT = 100  # most predictions of a class in an image: COCO's limit, which keeps the results comparable
IOU = 0.5  # least overlap of a correct prediction, unless a function says otherwise


@dataclass(frozen=True)
class ImagePredictions:
    """An image with its true objects and its predictions. Make it with `image_predictions`.

    Boxes are x1, y1, x2, y2 in pixels of the image as evaluated: resized so that its longest side is `imgsz`. Predicted
    boxes may reach beyond the image, as in Ultralytics' own evaluation.

    Attributes:
        path: The image file.
        size: The width and height of the image as evaluated, in pixels.
        truth_boxes: The boxes of the true objects, float64 of shape (objects, 4).
        truth_classes: Their classes from 0, of shape (objects,).
        boxes: The predicted boxes, float64 of shape (predictions, 4), the most confident first.
        classes: Their classes from 0, of shape (predictions,).
        confidences: Their confidences, 0 to 1, of shape (predictions,).
    """

    path: Path
    size: tuple[float, float]
    truth_boxes: NDArray[np.float64]
    truth_classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @cached_property
    def overlaps(self) -> NDArray[np.float64]:
        """The IoU of each prediction with each object, 0 to 1, of shape (predictions, objects)."""
        return box_iou(self.boxes, self.truth_boxes)

    @cached_property
    def same_class(self) -> NDArray[np.bool_]:
        """Whether a prediction and an object have the same class, of shape (predictions, objects)."""
        return self.classes[:, None] == self.truth_classes[None, :]

    @cached_property
    def matched(self) -> NDArray[np.int64]:
        """The object that each prediction finds at IoU 0.5, or -1 for a wrong prediction; of shape (predictions,)."""
        return match(self.overlaps * self.same_class, np.array([IOU]))[0, 0]

    def above(self, threshold: float) -> ImagePredictions:
        """Return the image with only its predictions of a confidence over a threshold (0 to 1)."""
        count = int((self.confidences > threshold).sum())
        kept = self.boxes[:count], self.classes[:count], self.confidences[:count]
        return ImagePredictions(self.path, self.size, self.truth_boxes, self.truth_classes, *kept)


def image_predictions(
    path: Path,
    size: tuple[float, float],
    truth: tuple[ArrayLike, ArrayLike],
    predicted: tuple[ArrayLike, ArrayLike, ArrayLike],
) -> ImagePredictions:
    """Return the predictions for an image in the order of their confidence, at most 100 of each class.

    Args:
        path: The image file.
        size: The width and height of the image as evaluated, in pixels.
        truth: The boxes and the classes of the true objects, as in `ImagePredictions`.
        predicted: The boxes, classes and confidences of the predictions, in any order.
    """
    boxes, classes, confidences = (np.asarray(values, np.float64) for values in predicted)
    order = np.argsort(-confidences, kind="stable")
    kept = np.zeros(len(order), bool)
    for label in np.unique(classes):
        kept[np.flatnonzero(classes[order] == label)[:LIMIT]] = True
    order = order[kept]
    return ImagePredictions(
        path,
        size,
        np.asarray(truth[0], np.float64).reshape(-1, 4),
        np.asarray(truth[1], np.float64).astype(np.int64),
        boxes.reshape(-1, 4)[order],
        classes[order].astype(np.int64),
        confidences[order],
    )


def pooled(images: Iterable[ImagePredictions]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Return the predictions of all images and classes together, at IoU 0.5.

    Returns:
        The confidences from high to low, of shape (predictions,); whether each prediction finds an object; the number
        of true objects.
    """
    images = list(images)
    confidences = np.concatenate([np.zeros(0), *(image.confidences for image in images)])
    correct = np.concatenate([np.zeros(0, bool), *(image.matched >= 0 for image in images)])
    order = np.argsort(-confidences, kind="stable")
    return confidences[order], correct[order], sum(len(image.truth_classes) for image in images)


def fractions(boxes: NDArray[np.float64], classes: Iterable[int], size: tuple[float, float]) -> list[Box]:
    """Return boxes in pixels of an image of a size (width, height) in YOLO's form."""
    width, height = size
    x1, y1, x2, y2 = (boxes / [width, height, width, height]).T
    columns = zip(classes, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, strict=True)
    return [(int(label), float(x), float(y), float(w), float(h)) for label, x, y, w, h in columns]
