"""Contact sheets: pictures with their boxes in rows, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stages.data.samples import Box, Pixels

COLUMNS = 4
TILE = 192  # pixels of a tile's side
GAP = 6

# Okabe and Ito's palette, which people with any colour vision can distinguish; in OpenCV's channel order.
COLOURS = ((0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204))

Colour = tuple[int, int, int]


def sheet(pictures: Sequence[tuple[Pixels, Sequence[Box]]], classes: Sequence[str]) -> bytes:
    """Return pictures in rows with their boxes, as PNG. If there are several classes, each box has the class name."""
    named = len(classes) > 1
    tiles = [
        tile(pixels, [(box, COLOURS[box[0] % len(COLOURS)], classes[box[0]] if named else "") for box in boxes])
        for pixels, boxes in pictures
    ]
    return grid(tiles)


def tile(pixels: Pixels, marks: Sequence[tuple[Box, Colour, str]], title: str = "") -> Pixels:
    """Return a picture scaled into a square tile, with its boxes.

    Args:
        pixels: uint8 of shape (height, width, 3), in OpenCV's channel order.
        marks: Each box with its colour and its text.
        title: A text for the lower left corner.
    """
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    for (_, x, y, w, h), colour, text in marks:
        left, top = round((x - w / 2) * size[0]), round((y - h / 2) * size[1])
        right, bottom = round((x + w / 2) * size[0]), round((y + h / 2) * size[1])
        if min(right - left, bottom - top) > 20:  # a dark rim, if the box is large enough for it
            cv2.rectangle(canvas, (left, top), (right, bottom), (0, 0, 0), 3)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2 if right - left > 10 else 1)
        _write(canvas, text, max(2, left + 3), max(12, top + 13), colour)
    square = np.full((TILE, TILE, 3), 255, np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = canvas
    _write(square, title, 5, TILE - 7, (255, 255, 255))
    return square


def _write(canvas: Pixels, text: str, x: int, y: int, colour: Colour) -> None:
    if text:  # on a filled rectangle, to be readable on any picture
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
        cv2.rectangle(canvas, (x - 2, y - height - 2), (x + width + 1, y + 3), colour, cv2.FILLED)
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def grid(tiles: Sequence[Pixels], columns: int = COLUMNS) -> bytes:
    """Return tiles in rows on white, as PNG."""
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * (TILE + GAP) + GAP, columns * (TILE + GAP) + GAP, 3), 255, np.uint8)
    for number, picture in enumerate(tiles):
        y, x = (GAP + place * (TILE + GAP) for place in divmod(number, columns))
        canvas[y : y + TILE, x : x + TILE] = picture
    canvas &= 0xF8  # 32 levels per channel: a third of the file size, without a visible difference
    encoded, content = cv2.imencode(".png", canvas)
    assert encoded, "OpenCV encodes every uint8 image as PNG"
    return content.tobytes()
