"""Duplicates: copies of an image are found, and different images are not."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from stages.data.drawing.scenes import draw
from stages.data.duplicates import NEAR, groups
from stages.data.images import read_image
from stages.data.inspection import perceptual_hash
from stages.data.samples import Pixels
from tests.helpers.photographs import real
from tests.helpers.project import COCO128


def compressed(pixels: Pixels, quality: int) -> Pixels:
    content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def copies(pixels: Pixels) -> dict[str, Pixels]:
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return {
        "compressed": compressed(pixels, 50),
        "reduced": compressed(cv2.resize(pixels, (width * 2 // 5, height * 2 // 5), interpolation=cv2.INTER_AREA), 90),
        "enlarged": np.asarray(cv2.resize(pixels, (width * 2, height * 2)), np.uint8),
        "grey": np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8),
    }


def distance(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def test_the_hash_of_a_copy_is_near() -> None:
    for number in range(20):
        pixels = draw(random.Random(number), 160)[0]
        for change, copy in copies(pixels).items():
            assert distance(perceptual_hash(pixels), perceptual_hash(copy)) <= NEAR, (number, change)


def test_drawn_pictures_are_not_taken_for_copies() -> None:
    assert groups([perceptual_hash(draw(random.Random(number), 160)[0]) for number in range(150)]) == []


@real
def test_photographs_are_told_apart_and_their_copies_are_found() -> None:
    photographs = [read_image(path) for path in sorted(COCO128.rglob("*.jpg"))[:40]]
    hashes = [perceptual_hash(pixels) for pixels in photographs]
    assert groups(hashes) == []
    for change in copies(photographs[0]):
        hashes_of_copies = [perceptual_hash(copies(pixels)[change]) for pixels in photographs]
        assert groups([*hashes, *hashes_of_copies]) == [[n, n + len(hashes)] for n in range(len(hashes))], change


@pytest.mark.parametrize("level", [0, 77, 255])
def test_the_hash_of_a_flat_image_is_no_noise(level: int) -> None:
    flat = np.full((50, 80, 3), level, np.uint8)
    assert perceptual_hash(flat) == perceptual_hash(compressed(flat, 50))


def test_groups_are_those_of_a_comparison_of_all_pairs() -> None:
    generator = random.Random(0)
    hashes = [generator.getrandbits(64) for _ in range(1500)]
    for number in range(0, 1500, 100):  # near ones and far ones, in the same block and in others
        flipped = sum(1 << bit for bit in generator.sample(range(64), number % 700 // 100 + 3))
        hashes.append(hashes[number] ^ flipped)
    pairs = [
        [first, second]
        for second in range(1500, len(hashes))
        for first in range(second)
        if distance(hashes[first], hashes[second]) <= NEAR
    ]
    assert 5 < len(pairs) < 15
    assert groups(hashes) == sorted(pairs)


def test_images_that_are_linked_by_others_are_one_group() -> None:
    assert groups([0b0, 0b1111, 0b11111111, 2**64 - 1, 0b11], near=4) == [[0, 1, 2, 4]]
    assert groups([5, 7, 5, 5], near=0) == [[0, 2, 3]]
    assert groups([]) == groups([1]) == []
