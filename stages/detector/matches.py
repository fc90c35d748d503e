"""Which predictions of each image are correct, as a table: mAP50 of any choice of the images is a function of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.base.tables import write_table

COLUMNS = ("image", "class", "objects", "correct", "wrong")
DIGITS = 6  # of a confidence: almost all that its 32 bits have, so that the order of the predictions stays


@dataclass(frozen=True)
class ImageMatches:
    """The predictions of a model for one image, matched to the true objects by Ultralytics at IoU 0.5.

    Attributes:
        name: The name of the image file.
        truth_classes: The classes of the true objects from 0, of shape (objects,).
        classes: The classes of the predictions from 0, of shape (predictions,).
        confidences: Their confidences, 0 to 1, of shape (predictions,).
        correct: Whether each prediction finds an object, of shape (predictions,).
    """

    name: str
    truth_classes: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class ClassMatches:
    """The predictions and the objects of one class in all images of a split.

    Attributes:
        objects: The number of true objects in each image, of shape (images,).
        places: The image of each prediction, as its place in the list of images, of shape (predictions,).
        confidences: The confidences of the predictions, 0 to 1, of shape (predictions,).
        correct: Whether each prediction finds an object, of shape (predictions,).
    """

    objects: NDArray[np.int64]
    places: NDArray[np.int64]
    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Matches:
    """The predictions of a model for a split.

    Attributes:
        images: The names of the image files, each once.
        classes: The predictions and the objects by class; a class without any is absent.
    """

    images: tuple[str, ...]
    classes: dict[str, ClassMatches]


def matches_table(images: Iterable[ImageMatches], classes: Sequence[str]) -> str:
    """Return the predictions as comma-separated values: a row for each image and each class that occurs in it.

    Columns: image (name of the file); class (empty if the image has no object and no prediction that counts); objects
    (the number of true objects of the class); correct (the confidences of the predictions of the class that find an
    object at IoU 0.5) and wrong (those of the others): lists from high to low, 0 to 1. Wrong predictions below the
    least confident correct one of the split are left out: they are the majority, and do not change mAP50 of any
    choice of the images.

    Args:
        images: The images in any order; the rows are in the order of their names.
        classes: The names of the classes.
    """
    images = sorted(images, key=lambda image: image.name)
    least = [
        min(
            (image.confidences[image.correct & (image.classes == label)].min(initial=1.0) for image in images),
            default=1.0,
        )
        for label in range(len(classes))
    ]
    rows: list[list[object]] = []
    for image in images:
        of_image: list[list[object]] = []
        for label in sorted({*image.truth_classes.tolist(), *image.classes.tolist()}):
            is_label = (image.classes == label) & (image.confidences >= least[label])
            correct, wrong = (
                [float(f"{value:.{DIGITS}g}") for value in sorted(image.confidences[is_label & which], reverse=True)]
                for which in (image.correct, ~image.correct)
            )
            objects = int((image.truth_classes == label).sum())
            if objects or correct or wrong:
                of_image.append([image.name, classes[label], objects, correct, wrong])
        rows += of_image or [[image.name, None, 0, [], []]]
    return write_table(COLUMNS, rows)


def read_matches(table: str) -> Matches:
    """Return the predictions that `matches_table` has written.

    Raises:
        ValueError: The text is not such a table.
    """
    places: dict[str, int] = {}
    parts: dict[str, list[tuple[int, int, list[float], list[float]]]] = {}
    reader = csv.DictReader(io.StringIO(table))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"not a table with the columns {', '.join(COLUMNS)}")
    try:
        for row in reader:
            place = places.setdefault(row["image"], len(places))
            correct, wrong = json.loads(row["correct"]), json.loads(row["wrong"])
            if row["class"]:
                parts.setdefault(row["class"], []).append((place, int(row["objects"]), correct, wrong))
        return Matches(tuple(places), {name: _class(rows, len(places)) for name, rows in parts.items()})
    except (TypeError, csv.Error) as error:
        raise ValueError("a row of the table is damaged") from error


def _class(rows: Sequence[tuple[int, int, list[float], list[float]]], images: int) -> ClassMatches:
    objects = np.zeros(images, np.int64)
    places: list[int] = []
    confidences: list[float] = []
    correct: list[bool] = []
    for place, count, right, wrong in rows:
        objects[place] = count
        places += [place] * (len(right) + len(wrong))
        confidences += [*right, *wrong]
        correct += [True] * len(right) + [False] * len(wrong)
    return ClassMatches(
        objects, np.array(places, np.int64), np.array(confidences, np.float64), np.array(correct, np.bool_)
    )
