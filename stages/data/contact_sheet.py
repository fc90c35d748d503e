"""Contact sheets: pictures with their boxes in rows, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stages.data.samples import Box, Pixels

COLUMNS = 4
TILE = 192  # pixels of a tile's side, unless a caller says otherwise
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


def tile(pixels: Pixels, marks: Sequence[tuple[Box, Colour, str]], title: str = "", side: int = TILE) -> Pixels:
    """Return a picture scaled into a square tile, with its boxes.

    Args:
        pixels: uint8 of shape (height, width, 3), in OpenCV's channel order.
        marks: Each box with its colour and its text.
        title: A text for the lower left corner.
        side: The pixels of the tile's side.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    texts = []
    for (_, x, y, w, h), colour, text in marks:
        left, top = round((x - w / 2) * size[0]), round((y - h / 2) * size[1])
        right, bottom = round((x + w / 2) * size[0]), round((y + h / 2) * size[1])
        if min(right - left, bottom - top) > 20:  # a dark rim, if the box is large enough for it
            cv2.rectangle(canvas, (left, top), (right, bottom), (0, 0, 0), 3)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2 if right - left > 10 else 1)
        texts.append((text, left + 3, top + 13, colour))
    written: list[_Area] = []
    for text, x, y, colour in texts:  # after all boxes, whose lines would cross them
        _write(canvas, text, x, y, colour, written)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = canvas
    _write(square, title, 5, side - 7, (255, 255, 255))
    return square


_Area = tuple[int, int, int, int]
"""The left, top, right and bottom of a text, in pixels."""


def _write(canvas: Pixels, text: str, x: int, y: int, colour: Colour, written: list[_Area] | None = None) -> None:
    """Write a text inside the canvas. If another text is in its way, write it below; then add its area to `written`."""
    if not text:
        return
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    x = max(2, min(x, canvas.shape[1] - width - 2))
    lowest = canvas.shape[0] - 4
    y = max(height + 3, min(y, lowest))
    others = written if written is not None else []
    start = y
    while any(_overlap(_area(x, y, width, height), other) for other in others):
        y += height + 6
        if y > lowest:  # no place is free
            y = start
            break
    left, top, right, bottom = area = _area(x, y, width, height)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)  # readable on any picture
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    others.append(area)


def _area(x: int, y: int, width: int, height: int) -> _Area:
    return x - 2, y - height - 2, x + width + 1, y + 3


def _overlap(first: _Area, second: _Area) -> bool:
    return first[0] <= second[2] and second[0] <= first[2] and first[1] <= second[3] and second[1] <= first[3]


def grid(tiles: Sequence[Pixels], columns: int = COLUMNS) -> bytes:
    """Return tiles of one size in rows on white, as PNG."""
    rows, side = -(-len(tiles) // columns), len(tiles[0])
    canvas = np.full((rows * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3), 255, np.uint8)
    for number, picture in enumerate(tiles):
        y, x = (GAP + place * (side + GAP) for place in divmod(number, columns))
        canvas[y : y + side, x : x + side] = picture
    canvas &= 0xF8  # 32 levels per channel: a third of the file size, without a visible difference
    encoded, content = cv2.imencode(".png", canvas)
    assert encoded, "OpenCV encodes every uint8 image as PNG"
    return content.tobytes()
