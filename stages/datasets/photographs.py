"""Images in files, and their labels in YOLO's text form."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image

from stages.datasets.samples import BadSample, Box, Picture, Pixels

SUFFIXES = frozenset({".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})

_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image file whose labels are known. A data set holds one for each image, so it is kept small.

    Attributes:
        path: The file, as text: a Path takes several times the memory.
        size: (width, height) in pixels that the annotations state, to be checked; None where they state none.
    """

    name: str
    split: str
    path: str
    origin: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None

    def read(self, longest: int | None = None) -> Picture:
        """Read and decode the file. Orientation in EXIF is applied, as the trainer applies it.

        A JPEG that is at least twice as large as wanted is decoded at a half, a quarter or an eighth: its decoder does
        that faster than it could be decoded whole and reduced.
        """
        path = Path(self.path)
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise BadSample(error.strerror or "cannot be read") from error
        if not encoded:
            raise BadSample("an empty file")
        shrink = 1
        suffix = path.suffix.lower()
        if suffix in (".jpg", ".jpeg"):
            if not encoded.endswith(_END_OF_JPEG):
                encoded = _whole(encoded)
            if longest:
                shrink = _shrink(encoded, longest)
        pixels = decode(encoded, shrink)
        height, width = pixels.shape[:2]
        if self.size and (width, height) != tuple(-(-side // shrink) for side in self.size):
            found = f"{width * shrink}x{height * shrink}"
            raise BadSample(f"is {found}, its annotations are for {self.size[0]}x{self.size[1]}")
        return Picture(encoded, suffix, pixels, self.boxes, reduced=shrink > 1)


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


def place(photographs: Sequence[Photograph], splits: Mapping[str, str]) -> list[Photograph]:
    """The photographs that have a split, by their origin, each with that split and a name of its own."""
    chosen = [photograph for photograph in photographs if photograph.origin in splits]
    names = unique_names([photograph.origin for photograph in chosen])
    return [replace(p, name=name, split=splits[p.origin]) for name, p in zip(names, chosen, strict=True)]


def unique_names(origins: Sequence[str]) -> list[str]:
    """A file name without suffix for each origin (`b/1.jpg` is `1`, or `b_1` where another folder has a `1`)."""
    paths = [PurePath(origin) for origin in origins]
    stems: dict[str, int] = {}
    for path in paths:
        stems[path.stem.casefold()] = stems.get(path.stem.casefold(), 0) + 1
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else "_".join([*_folders(path), path.stem])
        name = name.lstrip(".") or "image"  # the trainer does not see files whose name begins with a dot
        while name.casefold() in taken:  # `1.jpg` beside `1.png`
            name += f"_{path.suffix[1:]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _folders(path: PurePath) -> list[str]:
    """The folders of a path that can stand in a file's name: neither a drive, nor the root, nor the one above."""
    return [part for part in path.parent.parts if part not in (path.anchor, "..", ".")]


def read_labels(text: str, known: int, kept: Mapping[int, int]) -> tuple[Box, ...]:
    """Boxes of a YOLO label file: `class x y width height` a line, or `class x1 y1 x2 y2 x3 y3 ...` for an outline.

    Args:
        text: The file's content.
        known: How many classes the data set has.
        kept: The class in the prepared data of each class that is kept; others are left out.

    Raises:
        BadSample: A line is malformed; the text names the line and the value.
    """
    boxes: list[Box] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            label, *values = (float(field) for field in fields)
        except ValueError:
            raise BadSample(f"line {number}: {line.strip()[:40]!r} is not made of numbers") from None
        if not (label.is_integer() and 0 <= label < known):
            raise BadSample(f"line {number}: class {fields[0]}, but the data set has classes 0 to {known - 1}")
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise BadSample(
                f"line {number}: {len(values)} numbers behind the class; 4 make a box, 6, 8, ... an outline"
            )
        outside = [field for field, value in zip(fields[1:], values, strict=True) if not 0 <= value <= 1]
        if outside:
            raise BadSample(f"line {number}: {outside[0]} is outside 0 to 1, a fraction of the image")
        if len(values) > 4:
            values = _around(values)
        x, y, width, height = values
        if width <= 0 or height <= 0:
            raise BadSample(f"line {number}: a box of no size")
        if int(label) in kept:
            boxes.append((kept[int(label)], x, y, width, height))
    return tuple(dict.fromkeys(boxes))


def _around(outline: list[float]) -> list[float]:
    xs, ys = outline[::2], outline[1::2]
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def clip(
    x: float, y: float, width: float, height: float, size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """A COCO box (upper left corner, width, height; pixels) clipped to an image of `size` (width, height).

    Returns:
        Centre x, centre y, width and height as fractions, or None where under one pixel of a side is left.
    """
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        return None
    x1, x2 = max(0.0, x), min(float(size[0]), x + width)
    y1, y2 = max(0.0, y), min(float(size[1]), y + height)
    if x2 - x1 < 1 or y2 - y1 < 1:
        return None
    return (x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1]
