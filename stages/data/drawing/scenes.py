"""Scenes: one to four people and some objects in front of a background."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from stages.data.drawing.backgrounds import paint_background
from stages.data.drawing.canvas import SUPERSAMPLE, Canvas
from stages.data.drawing.objects import OBJECTS
from stages.data.drawing.people import draw_person
from stages.data.drawing.random_values import between
from stages.data.samples import Box, Pixels


def draw(rng: random.Random, imgsz: int) -> tuple[Pixels, tuple[Box, ...]]:
    """Draw one scene with one to four people.

    Returns:
        The image, uint8 of shape (imgsz, imgsz, 3) in OpenCV's channel order, and a box around the visible part of each
        person.
    """
    canvas = Canvas(imgsz * SUPERSAMPLE)
    horizon = paint_background(canvas, rng)
    side = canvas.side

    objects: list[tuple[float, Callable[[float], None]]] = []
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        height = side * between(rng, 0.40, 0.85)
        objects.append((_base(rng, height, horizon, side), partial(draw_person, canvas, rng, height=height)))
    for _ in range(rng.randrange(1, 4)):
        height = side * between(rng, 0.16, 0.55)
        draw_object = rng.choice(OBJECTS)
        objects.append((_base(rng, height, horizon, side), partial(draw_object, canvas, rng, height=height)))
    for base, paint in sorted(objects, key=lambda pair: pair[0]):  # a nearer object stands lower and hides others
        paint(base)

    return canvas.picture(rng), canvas.boxes()


def _base(rng: random.Random, height: float, horizon: float, side: int) -> float:
    """Return the y, in drawn pixels, at which a person or an object of this height stands.

    It stands on the ground. A taller one is nearer, and the lower edge cuts some of them.
    """
    return max(horizon, side * 0.30 + height * 0.62) + side * between(rng, 0.02, 0.20)
