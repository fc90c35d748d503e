"""The image that a scene is drawn on, and the boxes of the people in it."""

from __future__ import annotations

import math
import random

import cv2
import numpy as np

from stages.data.drawing.random_values import Colour
from stages.data.samples import Box, Pixels

SUPERSAMPLE = 2  # the drawing has twice the size and is then averaged, for smooth edges
FIXED_POINT = 4  # fractional bits of a vertex that OpenCV's fill takes
LEAST_VISIBLE = 0.3  # a person more hidden than this is not labelled, as an annotator would not
LEAST_PIXELS = 60  # at the drawn size; smaller visible patches are not labelled

Point = tuple[float, float]
"""x and y in drawn pixels, from the upper left corner."""

# A circle as a polygon of 16 points. The coordinates come from Pythagorean triples, so no sine is needed.
_QUARTER: tuple[Point, ...] = ((1.0, 0.0), (12 / 13, 5 / 13), (0.7071, 0.7071), (5 / 13, 12 / 13))
_CIRCLE: tuple[Point, ...] = tuple(
    p for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)) for p in ((a * x - b * y, a * y + b * x) for a, b in _QUARTER)
)


class Canvas:
    """An image at the drawn size, and the number of the person that each pixel shows.

    Attributes:
        side: Drawn pixels of a side: SUPERSAMPLE times those of the picture.
        pixels: uint8 of shape (side, side, 3) in OpenCV's channel order.
        person_numbers: uint8 of shape (side, side): 0 for no person, n for the nth person.
        drawn: Pixels of each person before anything hid them.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixels = np.zeros((side, side, 3), np.uint8)
        self.person_numbers = np.zeros((side, side), np.uint8)
        self.drawn: list[int] = []
        self._person = 0

    def begin_person(self) -> None:
        """Begin a new person: the shapes that follow belong to it, until `end_person`."""
        self.drawn.append(0)
        self._person = len(self.drawn)

    def end_person(self) -> None:
        """End the person and count its pixels."""
        self.drawn[-1] = int((self.person_numbers == self._person).sum())
        self._person = 0

    def fill(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon, which hides everything below it. It belongs to the present person, if there is one."""
        unit = 1 << FIXED_POINT
        vertices = np.array([[math.floor(x * unit + 0.5), math.floor(y * unit + 0.5)] for x, y in points], np.int32)
        cv2.fillPoly(self.pixels, [vertices], colour[::-1], cv2.LINE_8, FIXED_POINT)
        cv2.fillPoly(self.person_numbers, [vertices], self._person, cv2.LINE_8, FIXED_POINT)  # type: ignore[call-overload]

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse around (x, y) with the radii rx and ry."""
        self.fill([(x + rx * a, y + ry * b) for a, b in _CIRCLE], colour)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        """Fill a rectangle between two corners."""
        self.fill([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)

    def limb(self, a: Point, b: Point, width_a: float, width_b: float, colour: Colour) -> None:
        """Fill a bar from `a` to `b` with round ends, whose width changes evenly."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.sqrt(dx * dx + dy * dy) or 1.0
        nx, ny = -dy / length, dx / length
        ra, rb = width_a / 2, width_b / 2
        self.fill(
            [
                (a[0] + nx * ra, a[1] + ny * ra),
                (b[0] + nx * rb, b[1] + ny * rb),
                (b[0] - nx * rb, b[1] - ny * rb),
                (a[0] - nx * ra, a[1] - ny * ra),
            ],
            colour,
        )
        self.ellipse(*a, ra, ra, colour)
        self.ellipse(*b, rb, rb, colour)

    def picture(self, rng: random.Random) -> Pixels:
        """Return the image at its final size: averaged, with a random brightness and the noise of a cheap sensor."""
        n = self.side // SUPERSAMPLE
        total = self.pixels.reshape(n, SUPERSAMPLE, n, SUPERSAMPLE, 3).sum(axis=(1, 3), dtype=np.int32)
        gain = rng.randrange(80, 121)  # percent
        strength = rng.randrange(2, 9)
        raw = np.random.PCG64(rng.getrandbits(64)).random_raw(-(-n * n * 3 // 8))
        noise = raw.astype("<u8").view(np.uint8)[: n * n * 3].reshape(n, n, 3).astype(np.int32) - 128
        lit = total * gain // (SUPERSAMPLE * SUPERSAMPLE * 100) + noise * strength // 128
        return np.clip(lit, 0, 255).astype(np.uint8)

    def boxes(self) -> tuple[Box, ...]:
        """Return a box around the visible part of each person. A person that is mostly hidden has none."""
        boxes: list[Box] = []
        for person, drawn in enumerate(self.drawn, start=1):
            rows, columns = np.nonzero(self.person_numbers == person)
            if len(rows) < max(LEAST_PIXELS, LEAST_VISIBLE * drawn):
                continue
            x1, x2 = int(columns.min()), int(columns.max()) + 1
            y1, y2 = int(rows.min()), int(rows.max()) + 1
            doubled = 2 * self.side
            boxes.append((0, (x1 + x2) / doubled, (y1 + y2) / doubled, (x2 - x1) / self.side, (y2 - y1) / self.side))
        return tuple(boxes)
