"""Samples: the pictures that a source returns. Any process can read them one by one."""

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
    """A picture or its labels cannot be used. The text is the reason."""


@dataclass(frozen=True)
class Picture:
    """An image file, its pixels and its boxes.

    Attributes:
        encoded: The bytes of the file.
        suffix: The file's suffix, with its dot.
        pixels: uint8 of shape (height, width, 3) in OpenCV's channel order. The reader may have reduced the image.
        boxes: The objects in the image, in any order. An image without boxes is a background.
        reduced: Whether the reader has reduced the image.
    """

    encoded: bytes
    suffix: str
    pixels: Pixels
    boxes: tuple[Box, ...]
    reduced: bool = False


class Item(Protocol):
    """A picture that is not read yet. It is small, and can be pickled for another process."""

    @property
    def name(self) -> str:
        """The file name in the prepared data, without suffix. It is unique in the data set."""

    @property
    def split(self) -> str:
        """train, val or test."""

    @property
    def origin(self) -> str:
        """The path of the file in the folder of the data set, which messages name."""

    def read(self, longest: int | None = None) -> Picture:
        """Read or draw the picture.

        Args:
            longest: The pixels of the longest side that are needed. The reader may reduce the image, but not below
                that.

        Raises:
            BadSample: The picture is damaged, or its labels do not fit it.
        """


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, as its path in the folder of the data set, and the reason."""

    file: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", printable(self.file))


def printable(name: str) -> str:
    """Return the name of a file as text that can be written: bytes that are not UTF-8 become `\\udce9`."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass
class Collection:
    """The pictures of a source.

    Attributes:
        items: The pictures, in the order of the data set.
        problems: Files that cannot be used.
        counts: The number of things that were left out or changed, by kind.
    """

    items: Sequence[Item]
    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, number: int = 1) -> None:
        """Add to the number of things of this kind that were left out or changed."""
        if number:
            self.counts[kind] = self.counts.get(kind, 0) + number


def encode(image: Pixels) -> bytes:
    """Return an image of shape (height, width, 3) as JPEG, with the same bytes on every machine.

    Raises:
        BadSample: OpenCV cannot encode the image.
    """
    is_encoded, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not is_encoded:
        raise BadSample("cannot be encoded as JPEG")
    return encoded.tobytes()
