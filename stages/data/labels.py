"""Labels: read and check YOLO's text form, and clip COCO's boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from stages.data.samples import BadSample, Box

BEYOND = 1e-3  # of the image: labels are written with a few digits


def read_labels(text: str, classes: int, kept: Mapping[int, int]) -> tuple[Box, ...]:
    """Return the boxes of a YOLO label file.

    A line is `class x y width height`, or `class x1 y1 x2 y2 x3 y3 ...` for an outline, which becomes the box around
    it. Coordinates are fractions of the image, 0 to 1.

    Args:
        text: The content of the file.
        classes: The number of classes in the data set.
        kept: The number in the prepared data of each class that is kept. Boxes of other classes are left out.

    Raises:
        BadSample: A line is malformed. The text names the line and the value.
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
        if not (label.is_integer() and 0 <= label < classes):
            raise BadSample(f"line {number}: class {fields[0]}, but the data set has classes 0 to {classes - 1}")
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise BadSample(f"line {number}: {len(values)} numbers after the class; a box has 4, an outline 6, 8, ...")
        outside = [field for field, value in zip(fields[1:], values, strict=True) if not 0 <= value <= 1]
        if outside:
            raise BadSample(f"line {number}: {outside[0]} is outside 0 to 1; it must be a fraction of the image")
        if len(values) > 4:
            values = _around(values)
        x, y, width, height = values
        if width <= 0 or height <= 0:
            raise BadSample(f"line {number}: the box has no size")
        if int(label) in kept:
            boxes.append((kept[int(label)], x, y, width, height))
    return tuple(dict.fromkeys(boxes))


def inside(box: Box) -> Box:
    """Return a box clipped to its image; the box itself if it reaches beyond the image by rounding only."""
    label, x, y, width, height = box
    edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if all(-BEYOND <= edge <= 1 + BEYOND for edge in edges):
        return box
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in edges)
    return label, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _around(outline: list[float]) -> list[float]:
    """Return the box around an outline: centre x, centre y, width and height."""
    xs, ys = outline[::2], outline[1::2]
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def clip(
    x: float, y: float, width: float, height: float, size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Clip a COCO box to its image.

    Args:
        x, y: The upper left corner of the box, in pixels.
        width, height: The size of the box, in pixels.
        size: The width and height of the image, in pixels.

    Returns:
        Centre x, centre y, width and height as fractions of the image. None if less than one pixel of a side is left,
        or a number is not finite.
    """
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        return None
    x1, x2 = max(0.0, x), min(float(size[0]), x + width)
    y1, y2 = max(0.0, y), min(float(size[1]), y + height)
    if x2 - x1 < 1 or y2 - y1 < 1:
        return None
    return (x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1]


def label_file(image: Path) -> Path:
    """Return the label file of an image.

    It has the path of the image with the last folder `images` replaced by `labels`. If there is no such folder, or no
    such file but one beside the image, it is beside the image.
    """
    beside, folders = image.with_suffix(".txt"), list(image.parts[:-1])
    if "images" not in folders:
        return beside
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    file = Path(*folders, beside.name)
    return beside if not file.exists() and beside.is_file() else file


def prepared_boxes(image: Path) -> tuple[Box, ...]:
    """Return the boxes of an image in a prepared data set."""
    return written_boxes(label_file(image).read_text(encoding="utf-8"))


def written_boxes(labels: str) -> tuple[Box, ...]:
    """Return the boxes in the text of a label file of a prepared data set."""
    boxes: list[Box] = []
    for line in labels.splitlines():
        label, x, y, width, height = line.split()
        boxes.append((int(label), float(x), float(y), float(width), float(height)))
    return tuple(boxes)
