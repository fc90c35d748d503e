"""Errors by kind: each kind alone, several at once, and what they cost, worked out by hand."""

from __future__ import annotations

import pytest

from stages.detector.errors import KINDS, image_errors, lost_points
from stages.detector.predictions import ImagePredictions
from tests.helpers.predictions import Object, Prediction, by_hand

A, B, C, D = (
    (0.0, 0.0, 100.0, 100.0),
    (200.0, 0.0, 300.0, 100.0),
    (400.0, 0.0, 500.0, 100.0),
    (0.0, 200.0, 100.0, 300.0),
)
NEAR_A = (50.0, 0.0, 150.0, 100.0)  # IoU 1/3
NEAR_B = (250.0, 0.0, 350.0, 100.0)
NOWHERE = (400.0, 300.0, 500.0, 400.0)


def counts(image: ImagePredictions) -> dict[str, int]:
    """Return the number of errors of each kind that occurs."""
    errors = image_errors(image)
    return {kind: errors.count(kind) for kind in KINDS if errors.count(kind)}


def lost(*images: ImagePredictions) -> dict[str, float]:
    """Return the points that each kind costs, without kinds that cost nothing."""
    points = lost_points(images, [image_errors(image) for image in images])
    assert list(points) == list(KINDS)
    return {kind: value for kind, value in points.items() if value}


ALONE: dict[str, tuple[list[Object], list[Prediction], float]] = {
    # AP of class 0 is 0 and of class 1 is 1/2; repaired, both are 1.
    "class": ([(0, *A), (1, *B)], [(0.9, 1, *A), (0.8, 1, *B)], 75.0),
    "localisation": ([(0, *A)], [(0.9, 0, *NEAR_A)], 100.0),
    # The AP of class 1 is 1/2 because of the wrong box before the right one.
    "both": ([(0, *A), (1, *B)], [(0.95, 0, *A), (0.9, 1, *NEAR_A), (0.8, 1, *B)], 25.0),
    # Precision 1 at the recalls 0 to 0.5 (51 of 101), 2/3 at the other 50.
    "duplicate": ([(0, *A), (0, *B)], [(0.9, 0, *A), (0.8, 0, *A), (0.7, 0, *B)], 100 * (50 - 50 * 2 / 3) / 101),
    "background": ([(0, *A)], [(0.9, 0, *NOWHERE), (0.8, 0, *A)], 50.0),
    "missed": ([(0, *A), (0, *B)], [(0.9, 0, *A)], 100 * 50 / 101),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_is_recognised_and_costs_what_its_repair_gains(kind: str) -> None:
    truth, predicted, points = ALONE[kind]
    image = by_hand(truth, predicted)
    assert counts(image) == {kind: 1}
    assert lost(image) == {kind: pytest.approx(points)}


def test_all_kinds_at_once_are_told_apart() -> None:
    truth = [(0, *A), (0, *B), (1, *C), (1, *D)]
    predicted: list[Prediction] = [
        (0.9, 0, *A),
        (0.8, 0, *A),
        (0.7, 0, *NEAR_B),
        (0.6, 0, *C),
        (0.5, 1, *NEAR_A),
        (0.4, 1, *NOWHERE),
    ]
    errors = image_errors(by_hand(truth, predicted))
    assert errors.kinds.tolist() == ["", "duplicate", "localisation", "class", "both", "background"]
    assert errors.missed.tolist() == [False, False, False, True]
    assert errors.repairs.tolist() == [-1, -1, 1, 2, -1, -1]


def test_mixed_errors_cost_what_was_worked_out_by_hand() -> None:
    """Predictions by confidence: background, A found, A again, near B. Three objects, of which C is missed.

    The only precision is 1/2 at the recalls 0 to 0.33 (34 of 101): AP 17/101. With the box at B: 1/2 up to 0.66 (67).
    Without the background: 1 up to 0.33. Without the duplicate: as before. With two objects: 1/2 up to 0.5 (51).
    """
    truth = [(0, *A), (0, *B), (0, *C)]
    image = by_hand(truth, [(0.9, 0, *NOWHERE), (0.8, 0, *A), (0.7, 0, *A), (0.6, 0, *NEAR_B)])
    assert counts(image) == {"localisation": 1, "duplicate": 1, "background": 1, "missed": 1}
    assert lost(image) == {
        "localisation": pytest.approx(100 * (33.5 - 17) / 101),
        "background": pytest.approx(100 * (34 - 17) / 101),
        "missed": pytest.approx(100 * (25.5 - 17) / 101),
    }


def test_errors_in_other_images_count_together() -> None:
    first = by_hand([(0, *A)], [(0.9, 0, *NOWHERE), (0.8, 0, *A)])
    second = by_hand([(0, *B)], [(0.95, 0, *B)])
    # Precision 1 up to 0.5, 2/3 beyond.
    assert lost(first, second) == {"background": pytest.approx(100 * (50 - 50 * 2 / 3) / 101)}


def test_an_object_is_repaired_once_by_the_most_confident_prediction() -> None:
    image = by_hand([(0, *A), (1, *B)], [(0.6, 0, *NEAR_A), (0.7, 1, *A), (0.5, 1, *B)])
    errors = image_errors(image)
    assert errors.kinds.tolist() == ["class", "localisation", ""]
    assert errors.repairs.tolist() == [0, -1, -1]
    # As in tidecv, the less confident one is only removed: class 0 keeps AP 0.
    assert lost(image) == {"class": pytest.approx(75.0)}


def test_a_poor_box_at_a_found_object_is_no_repair() -> None:
    errors = image_errors(by_hand([(0, *A)], [(0.9, 0, *A), (0.8, 0, *NEAR_A)]))
    assert errors.kinds.tolist() == ["", "localisation"]
    assert errors.repairs.tolist() == [-1, -1]


def test_an_image_without_objects_has_background_only_and_one_without_predictions_misses_all() -> None:
    assert counts(by_hand([], [(0.9, 0, *A)])) == {"background": 1}
    assert counts(by_hand([(0, *A), (1, *B)], [])) == {"missed": 2}
    assert counts(by_hand([], [])) == {}


def test_if_every_object_is_missed_all_points_are_lost_to_that() -> None:
    assert lost(by_hand([(0, *A)], [])) == {"missed": 100.0}
    assert lost(by_hand([(0, *A)], [(0.9, 0, *NOWHERE)])) == {"missed": 100.0}


def test_without_any_object_nothing_is_lost() -> None:
    assert lost(by_hand([], [(0.9, 0, *A)])) == {}
    assert lost() == {}
