"""The operating point: the best threshold by F1, by precision and by recall; and the calibration of confidence."""

from __future__ import annotations

from typing import Any

import pytest

from stages.detector.calibration import calibration, calibration_error
from stages.detector.operating_point import DEFAULT, at_threshold, choose
from stages.detector.predictions import ImagePredictions
from tests.helpers.predictions import Prediction, by_hand

SIDE = 10.0


def split(answers: str, confidences: list[float], objects: int | None = None) -> list[ImagePredictions]:
    """Return an image with a prediction for each letter: `o` finds an object of its own, `x` finds nothing.

    Args:
        answers: The letters.
        confidences: The confidence of each prediction.
        objects: The number of objects; by default as many as are found.
    """
    found = answers.count("o")
    truth = [(0, *_place(number)) for number in range(found if objects is None else objects)]
    places = iter(range(found))
    predicted: list[Prediction] = [
        (confidence, 0, *_place(next(places) if answer == "o" else 40 + number))
        for number, (answer, confidence) in enumerate(zip(answers, confidences, strict=True))
    ]
    return [by_hand(truth, predicted)]


def _place(number: int) -> tuple[float, float, float, float]:
    left = 2 * SIDE * number
    return left, 0.0, left + SIDE, SIDE


IMAGES = split("ooxoxx", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], objects=4)


@pytest.mark.parametrize(
    ("rule", "threshold", "precision", "recall"),
    [
        ("f1", 0.55, 3 / 4, 3 / 4),
        ({"precision": 1.0}, 0.75, 1.0, 2 / 4),
        ({"precision": 0.75}, 0.55, 3 / 4, 3 / 4),
        ({"precision": 0.55}, 0.55, 3 / 4, 3 / 4),
        ({"recall": 0.5}, 0.75, 1.0, 2 / 4),
        ({"recall": 0.6}, 0.55, 3 / 4, 3 / 4),
        ({"recall": 0.2}, 0.85, 1.0, 1 / 4),
    ],
)
def test_the_threshold_is_the_best_by_its_rule(rule: Any, threshold: float, precision: float, recall: float) -> None:
    point = choose(IMAGES, rule)
    assert (point.threshold, point.precision, point.recall) == pytest.approx((threshold, precision, recall))
    assert point.missed_rule(rule) == ""


def test_if_no_threshold_does_what_is_asked_the_nearest_is_taken_and_one_line_says_so() -> None:
    point = choose(IMAGES, {"recall": 0.9})
    assert point.recall == 3 / 4
    assert point.missed_rule({"recall": 0.9}) == (
        "no threshold has recall 0.9 on the validation split: 0.55 has 0.750, the most"
    )
    wrong_first = split("xo", [0.9, 0.8])
    assert choose(wrong_first, {"precision": 0.9}).precision == 0.5
    assert "precision 0.9" in choose(wrong_first, {"precision": 0.9}).missed_rule({"precision": 0.9})


def test_equal_confidences_are_kept_or_left_out_together() -> None:
    point = choose(split("oox", [0.9, 0.5, 0.5]), "f1")
    assert (point.threshold, point.precision, point.recall) == pytest.approx((0.25, 2 / 3, 1.0))


def test_the_threshold_is_between_two_confidences_so_that_rounding_changes_nothing() -> None:
    point = choose(split("oox", [0.512345, 0.512335, 0.3]), "f1")
    assert 0.3 < point.threshold < 0.512335
    assert (point.precision, point.recall) == (1.0, 1.0)
    close = choose(split("ox", [0.900004, 0.900001]), {"precision": 1.0})
    assert 0.900001 < close.threshold < 0.900004
    assert close.precision == 1.0


@pytest.mark.parametrize("images", [[], split("xx", [0.9, 0.2], objects=3), split("", [], objects=2)])
def test_without_a_correct_prediction_the_threshold_is_that_of_ultralytics(images: list[ImagePredictions]) -> None:
    for rule in ("f1", {"precision": 0.9}, {"recall": 0.9}):
        point = choose(images, rule)  # type: ignore[arg-type]
        assert (point.threshold, point.precision, point.recall) == (DEFAULT, 0, 0)


def test_precision_and_recall_of_another_split_are_measured_at_the_same_threshold() -> None:
    point = at_threshold(split("xoxo", [0.9, 0.8, 0.7, 0.55], objects=3), 0.55)
    assert (point.precision, point.recall) == pytest.approx((1 / 3, 1 / 3)), "a confidence must be over it"


def test_calibration_compares_confidence_with_the_share_of_correct_predictions() -> None:
    bins = calibration(split("oxxxox", [0.95, 0.93, 0.72, 0.35, 0.31, 0.02]))
    assert [(part.low, part.high, part.count) for part in bins] == [
        (0.0, 0.1, 1),
        (pytest.approx(0.3), 0.4, 2),
        (pytest.approx(0.7), pytest.approx(0.8), 1),
        (0.9, 1.0, 2),
    ]
    assert [part.correct for part in bins] == [0, 0.5, 0, 0.5]
    assert [part.confidence for part in bins] == pytest.approx([0.02, 0.33, 0.72, 0.94])
    # The lowest range is left out: (2 x 0.17 + 0.72 + 2 x 0.44) / 5.
    assert calibration_error(bins) == pytest.approx((2 * 0.17 + 0.72 + 2 * 0.44) / 5)


def test_a_perfectly_calibrated_model_has_no_error_and_one_without_predictions_none_to_measure() -> None:
    assert calibration_error(calibration(split("oooox", [0.8] * 5))) == pytest.approx(0)
    assert calibration_error(calibration(split("x", [0.05]))) is None
    assert calibration([]) == []
