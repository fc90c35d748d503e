"""AP by size and class: worked out by hand, and equal to pycocotools' on drawn, real and random objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.data.boxes import SIZES, box_iou
from stages.data.images import image_files, read_image
from stages.data.labels import label_file
from stages.detector.average_precision import THRESHOLDS, accuracies, average_precision
from stages.detector.matching import match
from stages.detector.predictions import ImagePredictions
from tests.helpers.photographs import real
from tests.helpers.predictions import Prediction, by_chance, by_hand, by_pycocotools, objects_of, random_objects
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import COCO128


def is_as_in_pycocotools(images: Sequence[ImagePredictions], classes: int) -> None:
    precisions = by_pycocotools(images, classes)
    for row in accuracies(images, classes):
        of_row = precisions[:, :, slice(None) if row.label is None else row.label, list(SIZES).index(row.size)]
        if row.ap50 is None or row.ap50_95 is None:
            assert (of_row == -1).all()
        else:
            assert row.ap50 == pytest.approx(of_row[0][of_row[0] > -1].mean(), abs=0.001)
            assert row.ap50_95 == pytest.approx(of_row[of_row > -1].mean(), abs=0.001)


def labelled(
    images: Sequence[Path], longest: int, only: int | None = None
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return the boxes and classes of images with YOLO labels, in pixels of images with this longest side."""
    objects = []
    for path in images:
        height, width = read_image(path).shape[:2]
        text = label_file(path)
        rows = np.loadtxt(text, ndmin=2) if text.is_file() and text.stat().st_size else np.zeros((0, 5))
        rows = rows[rows[:, 0] == only] if only is not None else rows
        size = np.array([width, height]) * longest / max(width, height)
        centre, half = rows[:, 1:3] * size, rows[:, 3:5] * size / 2
        objects.append((np.hstack([centre - half, centre + half]), rows[:, 0].astype(np.int64)))
    return objects


@real
@pytest.mark.parametrize("longest", [160, 320, 640])
def test_ap_by_size_is_as_in_pycocotools_on_the_people_of_coco128(longest: int) -> None:
    objects = [item for item in labelled(image_files(COCO128 / "images"), longest, only=0) if len(item[1])]
    assert len(objects) == 61
    is_as_in_pycocotools(by_chance(objects, 1), 1)


@real
def test_ap_by_size_is_as_in_pycocotools_with_all_classes_of_coco128() -> None:
    is_as_in_pycocotools(by_chance(labelled(image_files(COCO128 / "images"), 640), 80), 80)


def test_ap_by_size_is_as_in_pycocotools_on_drawn_people(data: Path) -> None:
    is_as_in_pycocotools(by_chance(labelled(image_files(data / "images"), 160), 1), 1)


@pytest.mark.parametrize(("classes", "seed"), [(1, 0), (3, 1), (3, 2)])
def test_ap_by_size_is_as_in_pycocotools_on_random_objects(classes: int, seed: int) -> None:
    is_as_in_pycocotools(by_chance(random_objects(60, classes, seed), classes, seed), classes)


def test_more_predictions_than_a_hundred_of_a_class_do_not_count_as_in_pycocotools() -> None:
    (boxes, labels), *_ = (item for item in random_objects(60, 2) if len(item[1]) > 3)
    random = np.random.default_rng(0)
    many = np.tile(boxes, (60, 1))
    moved = objects_of(many + random.normal(0, 2, many.shape), np.tile(labels, 60))
    predicted: list[Prediction] = [(float(random.random()), *box) for box in moved]
    image = by_hand(objects_of(boxes, labels), predicted)
    assert len(predicted) > len(image.confidences)
    is_as_in_pycocotools([image], 2)


def test_the_average_precision_is_the_mean_of_the_best_precision_at_each_recall() -> None:
    correct = np.array([True, False, True])
    assert average_precision(correct, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(correct, 4) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert average_precision(correct[:0], 2) == 0
    assert average_precision(~correct[:1], 2) == 0


def test_an_object_of_another_size_is_ignored_with_its_prediction() -> None:
    small, large = (0, 10.0, 10.0, 30.0, 30.0), (0, 100.0, 100.0, 300.0, 300.0)
    image = by_hand([small, large], [(0.9, *large), (0.8, 0, 400.0, 100.0, 600.0, 300.0), (0.7, *small)])
    rows = {row.size: row for row in accuracies([image], 1) if row.label == 0}
    assert {size: row.objects for size, row in rows.items()} == {"all": 2, "small": 1, "medium": 0, "large": 1}
    assert rows["small"].ap50 == 1.0, "both large boxes are ignored, the wrong one too"
    assert rows["large"].ap50 == 1.0
    assert rows["medium"].ap50 is None
    assert rows["all"].ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_mean_is_over_the_classes_that_have_such_objects() -> None:
    box = (100.0, 100.0, 300.0, 300.0)
    rows = accuracies([by_hand([(0, *box)], [(0.9, 0, *box), (0.9, 2, *box)])], 3)
    means = {row.size: row for row in rows if row.label is None}
    assert means["large"].ap50 == means["large"].ap50_95 == 1.0
    assert means["small"].ap50 is None
    assert len(rows) == len(SIZES) * 4


def test_a_split_without_images_has_no_ap() -> None:
    assert {row.ap50 for row in accuracies([], 2)} == {None}


def test_the_iou_of_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 20]], float)
    assert box_iou(boxes, boxes) == pytest.approx(np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]]))
    assert box_iou(boxes[:0], boxes).shape == (0, 3)


def test_the_most_confident_prediction_chooses_first_and_an_ignored_object_comes_last() -> None:
    overlaps = np.array([[0.6, 0.9], [0.7, 0.8], [0.55, 0.0]])
    ignored = np.array([[False, False], [False, True]])
    found = match(overlaps, np.array([0.5, 0.75]), ignored)
    assert found[0].tolist() == [[1, 0, -1], [1, -1, -1]]
    assert found[1].tolist() == [[0, 1, -1], [1, -1, -1]]
    assert match(overlaps[:, :0], THRESHOLDS).tolist() == [[[-1] * 3] * len(THRESHOLDS)]
