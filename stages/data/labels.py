"""Labels in YOLO's text form, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from stages.data.samples import BadSample, Box


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


def label_file(image: Path) -> Path:
    """Where an image's labels are: its path with the last folder `images` replaced by `labels`, else beside it."""
    folders = list(image.parts[:-1])
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, image.name).with_suffix(".txt")


def prepared_boxes(image: Path) -> tuple[Box, ...]:
    """The boxes of an image of a prepared data set."""
    boxes: list[Box] = []
    for line in label_file(image).read_text(encoding="utf-8").splitlines():
        label, x, y, width, height = line.split()
        boxes.append((int(label), float(x), float(y), float(width), float(height)))
    return tuple(boxes)
