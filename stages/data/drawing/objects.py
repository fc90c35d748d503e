"""Objects that a detector could take for people: trees, posts, signs, animals, bins and coat stands."""

from __future__ import annotations

import random

from stages.data.drawing.canvas import Canvas
from stages.data.drawing.people import SKIN
from stages.data.drawing.random_values import between, random_colour, shade, similar


def _place(canvas: Canvas, rng: random.Random) -> float:
    return between(rng, 0.0, 1.0) * canvas.side


def _tree(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, bark = _place(canvas, rng), similar(rng, (95, 70, 48), 20)
    leaf = similar(rng, rng.choice(((60, 110, 50), (120, 130, 50), (170, 100, 40), (40, 80, 50))), 20)
    canvas.limb((x, base), (x + between(rng, -6, 6), base - height * 0.6), height * 0.11, height * 0.07, bark)
    for way in (-1, 1):  # boughs, so that a bare trunk resembles a body with arms
        canvas.limb((x, base - height * 0.5), (x + way * height * 0.2, base - height * 0.7), height * 0.05, 2, bark)
    for _ in range(rng.randrange(0, 6)):
        r = height * between(rng, 0.12, 0.22)
        cx, cy = x + height * between(rng, -0.2, 0.2), base - height * between(rng, 0.62, 0.95)
        canvas.ellipse(cx, cy, r, r * 0.85, similar(rng, leaf, 18))


def _post(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, metal = _place(canvas, rng), random_colour(rng, 30, 200)
    canvas.limb((x, base), (x, base - height * 0.9), height * 0.08, height * 0.05, metal)
    if rng.random() < 0.7:  # a lamp: a head on a pole
        r = height * between(rng, 0.05, 0.09)
        canvas.ellipse(x, base - height * 0.95, r, r * 1.2, rng.choice(((250, 240, 200), *SKIN)))


def _sign(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, face = _place(canvas, rng), random_colour(rng)
    canvas.limb((x, base), (x, base - height * 0.7), height * 0.05, height * 0.05, (120, 120, 125))
    r = height * between(rng, 0.14, 0.22)
    if rng.random() < 0.5:
        canvas.ellipse(x, base - height * 0.8, r, r, face)
        canvas.ellipse(x, base - height * 0.8, r * 0.7, r * 0.7, shade(face, 140))
    else:
        canvas.box(x - r, base - height, x + r, base - height * 0.6, face)
        canvas.box(x - r * 0.7, base - height * 0.9, x + r * 0.7, base - height * 0.8, shade(face, 50))


def _animal(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, size = _place(canvas, rng), height * 0.7
    coat = similar(rng, rng.choice(((140, 100, 60), (60, 50, 45), (220, 210, 195), (160, 160, 165))), 20)
    way = rng.choice((-1, 1))
    for k in (-0.42, -0.28, 0.25, 0.4):
        canvas.limb((x + k * size, base - size * 0.5), (x + (k + between(rng, -0.08, 0.08)) * size, base),
                    size * 0.11, size * 0.07, shade(coat, 85))  # fmt: skip
    canvas.ellipse(x, base - size * 0.55, size * 0.5, size * 0.2, coat)
    canvas.limb(
        (x + way * size * 0.42, base - size * 0.6),
        (x + way * size * 0.6, base - size * 0.85),
        size * 0.17,
        size * 0.14,
        coat,
    )
    canvas.ellipse(x + way * size * 0.68, base - size * 0.88, size * 0.16, size * 0.11, coat)
    canvas.limb(
        (x - way * size * 0.46, base - size * 0.6), (x - way * size * 0.7, base - size * 0.5), size * 0.06, 2, coat
    )


def _bin(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, colour = _place(canvas, rng), random_colour(rng)
    w, h = height * between(rng, 0.12, 0.24), height * between(rng, 0.4, 0.8)
    canvas.fill([(x - w, base - h), (x + w, base - h), (x + w * 0.8, base), (x - w * 0.8, base)], colour)
    canvas.ellipse(x, base - h, w * 1.1, w * 0.35, shade(colour, 75))


def _coat_stand(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    """Clothes without a body: the hardest to tell from a person."""
    x, cloth = _place(canvas, rng), random_colour(rng)
    canvas.limb((x, base), (x, base - height), height * 0.04, height * 0.04, (90, 70, 50))
    w = height * 0.16
    canvas.fill([(x - w * 0.5, base - height * 0.85), (x + w * 0.5, base - height * 0.85),
                 (x + w, base - height * 0.35), (x - w, base - height * 0.35)], cloth)  # fmt: skip


OBJECTS = (_tree, _tree, _post, _post, _sign, _animal, _animal, _bin, _coat_stand)
