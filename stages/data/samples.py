"""What every source of pictures gives: items that can be read one by one, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY = 95
SPLITS = ("train", "val", "test")

Pixels = NDArray[np.uint8]
Box = tuple[int, float, float, float, float]
"""Class from 0, then centre x, centre y, width and height as fractions (0 to 1) of the image: YOLO's own form."""


class BadSample(Exception):
    """One picture or its labels cannot be used; the text says why."""


@dataclass(frozen=True)
class Picture:
    """An image as it stands in its file, its pixels, and its boxes.

    Attributes:
        encoded: The bytes of the file.
        suffix: The file's suffix, with its dot.
        pixels: uint8 of shape (height, width, 3) in OpenCV's channel order: all of them, or those of the image reduced
            as far as the reader was allowed to.
        reduced: Whether it was reduced.
        boxes: What is to be found in it, in any order; none makes it a background.
    """

    encoded: bytes
    suffix: str
    pixels: Pixels
    boxes: tuple[Box, ...]
    reduced: bool = False


class Item(Protocol):
    """A picture that has not been read yet: small, and picklable for another process."""

    @property
    def name(self) -> str:
        """File name without suffix in the prepared data, unique in the data set."""

    @property
    def split(self) -> str:
        """train, val or test."""

    @property
    def origin(self) -> str:
        """What a message calls it: its file, from the folder of the data set on."""

    def read(self, longest: int | None = None) -> Picture:
        """Read or draw the picture.

        Args:
            longest: The pixels that are wanted of the longest side; they may be reduced to no less than that.

        Raises:
            BadSample: It is damaged, or its labels do not fit it.
        """


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, from the folder of the data set on, and why."""

    file: str
    reason: str


@dataclass
class Collection:
    """What a source found: the pictures in the order of the data set, and what it could not use or left out."""

    items: Sequence[Item]
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Note that `number` things more were left out."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number


def encode(image: Pixels) -> bytes:
    """Encode an image of shape (height, width, 3) as JPEG, the same bytes on every machine."""
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise BadSample("cannot be encoded as JPEG")
    return encoded.tobytes()
