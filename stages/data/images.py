"""Images in files, and their labels in YOLO's text form."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stages.data.samples import BadSample, Pixels

SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})

_END_OF_JPEG = b"\xff\xd9"


_SHRUNK = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def _shrink(encoded: bytes, longest: int) -> int:
    """By how much a JPEG can be shrunk while it is decoded, so that its longest side keeps `longest` pixels."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:  # reads the head of the file alone
            side = max(image.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1  # the decoder says what is wrong
    return next(shrink for shrink in (8, 4, 2, 1) if shrink == 1 or side >= longest * shrink)


def decode(encoded: bytes, shrink: int = 1) -> Pixels:
    """The pixels of an image file, uint8 of shape (height, width, 3), in OpenCV's channel order.

    `shrink` is 1, 2, 4 or 8: both sides are divided by it, and rounded up.

    Raises:
        BadSample: It is not an image.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), _SHRUNK[shrink])
    except cv2.error as error:  # more pixels than OpenCV takes
        raise BadSample(f"cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BadSample("not an image, or damaged")
    return pixels.astype(np.uint8, copy=False)


def read_image(path: Path) -> Pixels:
    """The pixels of an image file of the prepared data. (OpenCV's own reader fails on Windows for names like é.jpg.)"""
    return decode(path.read_bytes())


def _whole(encoded: bytes) -> bytes:
    """A JPEG without its end mark, completed when only bytes behind the image are to blame.

    OpenCV fills what is missing with grey and says nothing, so a strict decoder decides. The mark is appended because
    Ultralytics encodes files without it again, in place.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise BadSample("truncated or damaged JPEG") from error
    return encoded + _END_OF_JPEG


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, hidden ones left out, in an order that is the same everywhere."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place)
        found += [here / name for name in files if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: path.parts)
