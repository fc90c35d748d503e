"""Inspection of one picture of the prepared data: its hash, the sizes of its boxes, and the labels to check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.data.boxes import SIZES, box_iou, corners
from stages.data.samples import Box, Pixels

SIDES = (160, 320, 640, 1280)  # pixels of the longest side as evaluated: usual values of `imgsz`

OVERLAP = 0.95  # IoU over which two boxes of one class are hardly two objects
TINY = 4  # pixels of the shorter side under which a box is suspicious: half the finest stride of YOLOv8


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A label that may be wrong: the line in its file, from 1; the class, from 0; and the problem."""

    line: int
    label: int
    problem: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts about one picture for the data card.

    Attributes:
        hash: The perceptual hash, 64 bits.
        sizes: The number of boxes of each size but `all`, in the order of SIZES, for each of SIDES.
        suspicions: The labels to check.
    """

    hash: int
    sizes: tuple[tuple[int, ...], ...]
    suspicions: tuple[Suspicion, ...]


def inspect(pixels: Pixels, boxes: Sequence[Box]) -> Inspection:
    """Inspect a picture.

    Args:
        pixels: uint8 of shape (height, width, 3) in OpenCV's channel order.
        boxes: The boxes in the order of the label file.
    """
    height, width = pixels.shape[:2]
    sizes = tuple(_sizes(boxes, width, height, side) for side in SIDES)
    return Inspection(perceptual_hash(pixels), sizes, (*_tiny(boxes, width, height), *_overlapping(boxes)))


def perceptual_hash(pixels: Pixels) -> int:
    """Return a hash of 64 bits that changes little if an image is compressed, resized or brightened.

    It is the pHash of Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010): the image in
    grey at 32x32 pixels, the 64 lowest frequencies of its cosine transform, and a bit for each that is over the median.

    Args:
        pixels: uint8 of shape (height, width, 3) in OpenCV's channel order.
    """
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    frequencies = np.rint(cv2.dct(grey.astype(np.float32))[:8, :8])  # whole, so that no bit of a flat image is noise
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")


def _sizes(boxes: Sequence[Box], width: int, height: int, side: int) -> tuple[int, ...]:
    """Return the number of small, medium and large boxes in the image with its longest side at `side`."""
    scale = side / max(width, height)
    # a label file has six decimals, so the rest of an area is rounding, which a box at a bound must not depend on
    areas = [round(box[3] * width * scale * box[4] * height * scale, 1) for box in boxes]
    return tuple(sum(low <= area <= high for area in areas) for size, (low, high) in SIZES.items() if size != "all")


def _tiny(boxes: Sequence[Box], width: int, height: int) -> list[Suspicion]:
    return [
        Suspicion(line, label, f"is {w * width:.1f} x {h * height:.1f} pixels")
        for line, (label, _, _, w, h) in enumerate(boxes, start=1)
        if min(w * width, h * height) < TINY
    ]


def _overlapping(boxes: Sequence[Box]) -> list[Suspicion]:
    if len(boxes) < 2:
        return []
    labels = np.array([box[0] for box in boxes])
    edges = corners(boxes)
    overlaps = box_iou(edges, edges) * (labels[:, None] == labels[None, :])
    return [
        Suspicion(int(second) + 1, int(labels[second]), f"covers line {first + 1} (IoU {overlaps[first, second]:.2f})")
        for first, second in np.argwhere(np.triu(overlaps, 1) > OVERLAP)
    ]
