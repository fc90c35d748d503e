"""Sheets of images: the worst come first, and each error is marked by its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.data import contact_sheet
from stages.data.contact_sheet import GAP, TILE
from stages.detector import sheets
from stages.detector.sheets import SHOWN, WORST, WORST_SIDE, prediction_sheet, worst_images, worst_sheet
from tests.helpers.predictions import Object, Prediction, by_hand

BOX, OTHER, FAR = (0.0, 0.0, 100.0, 100.0), (200.0, 0.0, 300.0, 100.0), (400.0, 300.0, 500.0, 400.0)


def decoded(content: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.uint8)


def test_the_image_with_the_most_errors_is_the_worst_and_one_without_errors_is_left_out() -> None:
    truth: list[Object] = [(0, *BOX), (0, *OTHER)]
    right: list[Prediction] = [(0.9, 0, *BOX), (0.8, 0, *OTHER)]
    images = {
        "right": by_hand(truth, right, Path("right.png")),
        "one missed": by_hand(truth, right[:1], Path("missed.png")),
        "sure": by_hand(truth, [*right, (0.7, 0, *FAR)], Path("sure.png")),
        "unsure": by_hand(truth, [*right, (0.4, 0, *FAR)], Path("unsure.png")),
        "two": by_hand(truth, [(0.9, 0, *BOX), (0.8, 0, *FAR)], Path("two.png")),
    }
    worst = [image.path.stem for image, _ in worst_images(list(images.values()), 0.3)]
    assert worst == ["two", "sure", "unsure", "missed"]
    above = [image.path.stem for image, _ in worst_images(list(images.values()), 0.5)]
    assert "unsure" not in above, "its wrong box is not above the threshold"


def test_each_error_is_marked_by_its_kind_and_confidence(
    photograph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[tuple[list[str], str]] = []
    tile = contact_sheet.tile

    def note(pixels: NDArray[np.uint8], drawn: list[tuple[object, object, str]], title: str, side: int) -> object:
        marks.append(([text for _, _, text in drawn], title))
        return tile(pixels, drawn, title, side)  # type: ignore[arg-type]

    monkeypatch.setattr(sheets, "tile", note)
    path = photograph("street.png", 640, 480)
    image = by_hand([(0, *BOX), (0, *OTHER)], [(0.9, 0, *BOX), (0.8, 0, *BOX), (0.6, 0, *FAR)], path)
    picture = decoded(worst_sheet([image], 0.3, ["person"]))
    assert marks == [
        (["", "missed"], "truth, street.png"),
        (["0.90", "duplicate 0.80", "background 0.60"], "1 duplicate, 1 background, 1 missed"),
    ]
    assert picture.shape == (WORST_SIDE + 2 * GAP, 4 * (WORST_SIDE + GAP) + GAP, 3)
    marks.clear()
    worst_sheet([image], 0.3, ["person", "dog"])
    assert marks[1][0] == ["person 0.90", "person duplicate 0.80", "person background 0.60"]


def test_a_model_without_errors_has_a_sheet_too() -> None:
    picture = decoded(worst_sheet([by_hand([(0, *BOX)], [(0.9, 0, *BOX)])], 0.5, ["person"]))
    assert picture.min() > 240


def test_a_sheet_has_a_fixed_number_of_images_at_most(photograph: Callable[..., Path]) -> None:
    paths = [photograph(f"{name}.png") for name in "kjihgfedcba"]
    images = [by_hand([(0, *BOX)], [(0.9, 0, *FAR)], path) for path in paths]
    picture = decoded(prediction_sheet(images, 0.25))
    assert picture.shape[0] == SHOWN // 2 * (TILE + GAP) + GAP
    assert len(decoded(worst_sheet(images, 0.25, ["person"]))) == WORST // 2 * (WORST_SIDE + GAP) + GAP
