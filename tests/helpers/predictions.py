"""Predictions made by hand or drawn at random, and COCO's own evaluation of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.detector.predictions import ImagePredictions, image_predictions

Object = tuple[int, float, float, float, float]
"""Class, then x1, y1, x2 and y2 in pixels."""

Prediction = tuple[float, int, float, float, float, float]
"""Confidence, then as an object."""


def by_hand(truth: Sequence[Object], predicted: Sequence[Prediction], path: Path = Path("a.png")) -> ImagePredictions:
    """Return an image of 640 by 480 pixels with these objects and predictions."""
    objects, predictions = np.array(truth).reshape(-1, 5), np.array(predicted).reshape(-1, 6)
    return image_predictions(
        path,
        (640, 480),
        (objects[:, 1:], objects[:, 0]),
        (predictions[:, 2:], predictions[:, 1], predictions[:, 0]),
    )


def by_chance(
    objects: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]], classes: int, seed: int = 0
) -> list[ImagePredictions]:
    """Return images with these boxes and classes, and predictions with errors of every kind near and far from them.

    Confidences have two digits, so that some are equal.
    """
    random = np.random.default_rng(seed)
    images = []
    for boxes, labels in objects:
        predicted: list[Prediction] = []
        for box, label in zip(boxes, labels, strict=True):
            for _ in range(random.integers(0, 4)):
                moved = box + random.normal(0, random.choice([0.03, 0.1, 0.3]), 4) * np.tile(box[2:] - box[:2], 2)
                guess = label if random.random() < 0.8 else random.integers(0, classes)
                predicted.append(_prediction(random, guess, moved))
        for _ in range(random.integers(0, 5)):
            corner, side = random.uniform(0, 400, 2), random.uniform(8, 200, 2)
            predicted.append(_prediction(random, random.integers(0, classes), np.concatenate([corner, corner + side])))
        images.append(by_hand(objects_of(boxes, labels), predicted))
    return images


def objects_of(boxes: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Object]:
    """Return boxes of shape (objects, 4) and their classes as objects."""
    return [(int(label), *map(float, box)) for box, label in zip(boxes, labels, strict=True)]  # type: ignore[misc]


def _prediction(random: np.random.Generator, label: Any, box: NDArray[np.float64]) -> Prediction:
    (x1, x2), (y1, y2) = sorted(map(float, box[::2])), sorted(map(float, box[1::2]))
    return round(float(random.random()), 2), int(label), x1, y1, x2, y2


def random_objects(images: int, classes: int, seed: int = 0) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return boxes of all sizes, up to seven in an image of 640 by 480 pixels, and their classes."""
    random = np.random.default_rng(seed)
    objects = []
    for _ in range(images):
        count = random.integers(0, 8)
        sides = np.exp(random.uniform(np.log(8), np.log(300), (count, 2)))
        corners = random.uniform(0, 1, (count, 2)) * (np.array([640, 480]) - sides)
        objects.append((np.hstack([corners, corners + sides]), random.integers(0, classes, count)))
    return objects


def by_pycocotools(images: Sequence[ImagePredictions], classes: int) -> NDArray[np.float64]:
    """Return the precisions of pycocotools, of shape (IoU, recalls, classes, sizes); -1 where there is no object.

    The test is skipped where pycocotools is not installed.
    """
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    evaluation = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for (x1, y1, x2, y2), label in zip(image.truth_boxes, image.truth_classes, strict=True):
            about = {"image_id": number, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            area = (x2 - x1) * (y2 - y1)
            annotations.append({**about, "id": len(annotations) + 1, "area": area, "iscrowd": 0})
        for (x1, y1, x2, y2), label, score in zip(image.boxes, image.classes, image.confidences, strict=True):
            about = {"image_id": number, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            results.append({**about, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": number + 1} for number in range(len(images))],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        made = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
        made.evaluate()
        made.accumulate()
    precisions: NDArray[np.float64] = made.eval["precision"][..., 2]  # at most 100 predictions
    return precisions
