"""Drawn people: the same bytes everywhere, honest boxes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from stages.base.failures import Failure
from stages.data.drawing.canvas import Canvas
from stages.data.drawing.scenes import draw
from stages.data.images import decode
from stages.data.samples import Item
from stages.data.sources import synthetic
from tests.helpers.data import data

# Of the first eight training pictures at the default size and seed. It changes only when the drawing is changed.
FIRST_EIGHT = "dcf078d7034c6401f945322111e4c77f1b12697c06356582d1a780b3de766282"


def items(split: dict[str, float] | None, seed: int, imgsz: int | None) -> Sequence[Item]:
    return synthetic.collect(data(split=split, seed=seed, imgsz=imgsz)).items


def test_the_bytes_are_the_same_on_every_machine() -> None:
    pictures = items(None, 0, 160)[:8]
    digest = hashlib.sha256(b"".join(picture.read().encoded for picture in pictures))
    assert digest.hexdigest() == FIRST_EIGHT


def test_the_default_is_256_64_64() -> None:
    splits = [item.split for item in items(None, 0, 160)]
    assert {split: splits.count(split) for split in splits} == {"train": 256, "val": 64, "test": 64}


def test_a_picture_depends_on_seed_split_and_number_alone() -> None:
    def first(parts: dict[str, float], seed: int) -> bytes:
        return items(parts, seed, 64)[0].read().encoded

    few: dict[str, float] = {"train": 2, "val": 1, "test": 1}
    many: dict[str, float] = {"train": 9, "val": 5, "test": 5}
    assert first(few, 0) == first(many, 0)
    assert first(few, 0) != first(few, 1)


def test_the_splits_share_no_picture() -> None:
    drawings = items({"train": 8, "val": 8, "test": 8}, 0, 64)
    assert len({item.read().encoded for item in drawings}) == 24


@pytest.mark.parametrize("imgsz", [64, 160, 333])
def test_boxes_lie_in_the_picture_and_touch_what_they_hold(imgsz: int) -> None:
    for number in range(12):
        pixels, boxes = draw(random.Random(number), imgsz)
        assert pixels.shape == (imgsz, imgsz, 3)
        for label, x, y, width, height in boxes:
            assert label == 0
            assert 0 <= x - width / 2 <= x + width / 2 <= 1
            assert 0 <= y - height / 2 <= y + height / 2 <= 1
            assert height * imgsz > 2


def test_people_that_are_hidden_are_not_labelled() -> None:
    canvas = Canvas(200)
    for left in (20, 120):
        canvas.begin_person()
        canvas.box(left, 40, left + 40, 160, (200, 0, 0))
        canvas.end_person()
    canvas.box(0, 0, 62, 150, (0, 200, 0))  # before the first: about a tenth of it is left
    boxes = canvas.boxes()
    assert len(boxes) == 1
    _, x, _, width, height = boxes[0]
    assert (x, width, height) == pytest.approx((0.7, 0.2, 0.6), abs=0.01)


def test_a_partly_hidden_person_has_a_box_around_what_is_seen() -> None:
    canvas = Canvas(200)
    canvas.begin_person()
    canvas.box(50, 40, 100, 160, (200, 0, 0))
    canvas.end_person()
    canvas.box(0, 100, 200, 200, (0, 200, 0))
    (_, _, y, _, height), = canvas.boxes()  # fmt: skip
    assert (y, height) == pytest.approx((0.35, 0.3), abs=0.01)


def test_there_is_something_to_find_and_something_to_mistake() -> None:
    """Pictures differ in light and number of people, and most of each is neither one colour nor a person."""
    drawn = [draw(random.Random(number), 96) for number in range(60)]
    assert {len(boxes) for _, boxes in drawn} >= {1, 2, 3}
    light = [pixels.mean() for pixels, _ in drawn]
    assert max(light) - min(light) > 60
    assert min(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).std() for pixels, _ in drawn) > 10


def test_the_file_holds_the_drawing() -> None:
    item = items({"train": 1, "val": 1, "test": 1}, 3, 96)[0]
    picture = item.read()
    difference = decode(picture.encoded)[0].astype(int) - picture.pixels.astype(int)
    assert np.abs(difference).mean() < 4  # JPEG's loss, no more


def test_fractions_are_refused() -> None:
    with pytest.raises(Failure, match="fractions have no meaning for source synthetic"):
        items({"train": 0.8, "val": 0.1, "test": 0.1}, 0, 64)
