"""Image files: find, decode and read them."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stages.base.failures import Failure
from stages.data.samples import BadSample, Pixels

SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})

START_OF_JPEG, END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
MOST_PIXELS = 150_000_000  # of an image: the largest of cameras; their pixels take 450 MB

_DECODING = {  # OpenCV's flag for each factor
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def size(encoded: bytes) -> tuple[int, int] | None:
    """Return the width and the height of an image file in pixels. Its pixels are not decoded.

    Returns:
        None for a file whose header cannot be read: the decoder reports the reason, or has a limit of its own.

    Raises:
        BadSample: The header states more than MOST_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images
            with Image.open(io.BytesIO(encoded)) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:  # Pillow's own limit
        raise BadSample(f"has too many pixels; at most {MOST_PIXELS:,} are read") from error
    except Exception:  # Pillow raises many kinds for damaged files
        return None
    if width * height > MOST_PIXELS:
        raise BadSample(f"has {width}x{height} pixels; at most {MOST_PIXELS:,} are read")
    return width, height


def shrink_factor(size: tuple[int, int], longest: int) -> int:
    """Return the factor (1, 2, 4 or 8) to shrink a JPEG by while decoding: its longest side keeps `longest` pixels."""
    return next(shrink for shrink in (8, 4, 2, 1) if shrink == 1 or max(size) >= longest * shrink)


def decode(encoded: bytes, longest: int | None = None) -> tuple[Pixels, int]:
    """Decode an image file.

    Args:
        encoded: The bytes of the file.
        longest: For a JPEG, shrink it while decoding, but keep at least so many pixels of its longest side.

    Returns:
        The pixels: uint8 of shape (height, width, 3), in OpenCV's channel order. The factor that both sides were
        divided by, rounded up: 1, 2, 4 or 8.

    Raises:
        BadSample: The file is not an image, is damaged, or has more than MOST_PIXELS.
    """
    stated = size(encoded)
    shrink = shrink_factor(stated, longest) if stated and longest else 1
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), _DECODING[shrink])
    except cv2.error as error:  # OpenCV raises this for an image with too many pixels
        raise BadSample(f"cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BadSample("not an image, or damaged")
    return pixels.astype(np.uint8, copy=False), shrink


def read_image(path: Path) -> Pixels:
    """Return the pixels of an image file, as `decode` does. OpenCV's reader fails on Windows for é.jpg."""
    return decode(path.read_bytes())[0]


def with_end_mark(encoded: bytes) -> bytes:
    """Return a JPEG with the end mark appended, for a file that does not end with it.

    A file with other bytes after a complete image is usable. OpenCV fills a missing part with grey in silence, so a
    strict decoder checks that the image is complete. The mark is appended because Ultralytics rewrites a file without
    it, in place.

    Raises:
        BadSample: The image is truncated or damaged.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise BadSample("truncated or damaged JPEG") from error
    return encoded + END_OF_JPEG


def check_tiff(encoded: bytes) -> None:
    """Check that a TIFF is complete, because OpenCV fills a damaged part in silence.

    A kind of TIFF that Pillow does not know, such as 16 bits in three colours, is not checked.

    Raises:
        BadSample: The image is truncated or damaged.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
    except Exception:  # Pillow raises many kinds for what it does not know
        return
    try:
        with image:
            image.load()
    except Exception as error:
        raise BadSample("truncated or damaged TIFF") from error


def image_files(folder: Path) -> list[Path]:
    """Return the images below a folder, without hidden ones, in an order that is the same on every machine.

    Links to folders are followed, each folder once.

    Raises:
        Failure: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise Failure(f"data.path: {error.filename}: {error.strerror}")

    images, seen = [], set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [name for name in files if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]
        images += [Path(parent) / name for name in names]
    return sorted(images, key=lambda path: path.parts)
