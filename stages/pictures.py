"""Sheets of pictures with boxes, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stages.datasets.samples import Box, Pixels

COLUMNS = 4
TILE = 192  # pixels of a tile's side
GAP = 6

# Okabe and Ito's palette, told apart with every kind of colour vision; OpenCV's channel order.
COLOURS = ((0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204))

Labelled = tuple[Pixels, Sequence[Box]]


def sheet(pictures: Sequence[Labelled], classes: Sequence[str], columns: int = COLUMNS) -> bytes:
    """Pictures in rows, each scaled into a square tile, its boxes drawn over it.

    Args:
        pictures: Images, uint8 of shape (height, width, 3), and their boxes.
        classes: Names of the classes; with more than one, each box bears its name.
        columns: Pictures in a row.

    Returns:
        A PNG.
    """
    tiles = [tile(pixels, [(box, COLOURS[box[0] % len(COLOURS)], _name(box, classes)) for box in boxes]) for pixels, boxes in pictures]
    return grid(tiles, columns)


def tile(pixels: Pixels, marks: Sequence[tuple[Box, tuple[int, int, int], str]]) -> Pixels:
    """One picture scaled into a square tile, each of its boxes in a colour and with a text."""
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    for (_, x, y, w, h), colour, text in marks:
        left, top = round((x - w / 2) * size[0]), round((y - h / 2) * size[1])
        right, bottom = round((x + w / 2) * size[0]), round((y + h / 2) * size[1])
        cv2.rectangle(canvas, (left, top), (right, bottom), (0, 0, 0), 3)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2)
        if text:
            at = (max(2, left + 3), max(12, top + 13))
            cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    square = np.full((TILE, TILE, 3), 255, np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = canvas
    return square


def grid(tiles: Sequence[Pixels], columns: int = COLUMNS, head: Pixels | None = None) -> bytes:
    """Tiles in rows on white, below a head if there is one, as a PNG."""
    rows = -(-len(tiles) // columns)
    top = head.shape[0] if head is not None else 0
    canvas = np.full((top + rows * (TILE + GAP) + GAP, columns * (TILE + GAP) + GAP, 3), 255, np.uint8)
    if head is not None:
        canvas[:top, : head.shape[1]] = head[:, : canvas.shape[1]]
    for number, picture in enumerate(tiles):
        y = top + GAP + number // columns * (TILE + GAP)
        x = GAP + number % columns * (TILE + GAP)
        canvas[y : y + TILE, x : x + TILE] = picture
    canvas &= 0xF8  # 32 levels a channel: a third of the file, and the eye sees no difference
    encoded, content = cv2.imencode(".png", canvas)
    assert encoded, "OpenCV encodes every uint8 image as PNG"
    return content.tobytes()


def _name(box: Box, classes: Sequence[str]) -> str:
    return classes[box[0]] if len(classes) > 1 else ""
