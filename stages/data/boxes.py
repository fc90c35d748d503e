"""Boxes: areas, overlaps, and the sizes by which an evaluation and the data card tell objects apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.data.samples import Box

SIZES = {"all": (0.0, np.inf), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""Least and greatest area of an object by size, in square pixels of the image as evaluated. Both bounds are included.

The bounds are COCO's. COCO measures in pixels of the file, but a detector sees the image at `imgsz`: a person of 200
pixels in a photograph of 4,000 pixels is one of 8 pixels at `imgsz: 160`, and as hard to find. So a size says how large
an object is for the model, whatever the size of the file.
"""


def corners(boxes: Iterable[Box]) -> NDArray[np.float64]:
    """Return boxes as x1, y1, x2, y2 in fractions of the image, of shape (boxes, 4)."""
    x, y, width, height = np.array([box[1:] for box in boxes], np.float64).reshape(-1, 4).T
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU (intersection over union, 0 to 1) of each box with each other box.

    Args:
        first: Boxes as x1, y1, x2, y2, of shape (n, 4).
        second: Boxes of shape (m, 4).

    Returns:
        An array of shape (n, m). The IoU of two boxes without any area is 0.
    """
    overlap = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    intersection = overlap.clip(min=0).prod(axis=2)
    union = box_area(first)[:, None] + box_area(second)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def box_area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas of boxes of shape (n, 4), in the square of their unit."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
