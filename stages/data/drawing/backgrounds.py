"""Backgrounds: a field, a street or a room."""

from __future__ import annotations

import math
import random

import numpy as np

from stages.data.drawing.canvas import Canvas
from stages.data.drawing.random_values import Colour, between, random_colour, shade, similar

HAZE = (2, 3)  # parts of the background, and of one colour over it


def paint_background(canvas: Canvas, rng: random.Random) -> float:
    """Paint a random background and return the y of its horizon, in drawn pixels."""
    side = canvas.side
    horizon = side * between(rng, 0.28, 0.62)
    rng.choice((_field, _street, _room))(canvas, rng, horizon)
    haze = np.array(random_colour(rng, 90, 200), np.int32)  # distant objects are paler than near ones
    canvas.pixels[:] = ((canvas.pixels * np.int32(HAZE[0]) + haze * HAZE[1]) // sum(HAZE)).astype(np.uint8)
    return horizon


def _gradient(canvas: Canvas, y1: float, y2: float, top: Colour, bottom: Colour) -> None:
    first, last = max(0, math.floor(y1)), min(canvas.side, math.floor(y2))
    if last <= first:
        return
    t = np.arange(last - first, dtype=np.int64)[:, None]
    a, b = np.array(top[::-1], np.int64), np.array(bottom[::-1], np.int64)
    rows = a + (b - a) * t // max(1, last - first - 1)
    canvas.pixels[first:last] = rows[:, None, :].astype(np.uint8)


def _field(canvas: Canvas, rng: random.Random, horizon: float) -> None:
    side = canvas.side
    sky = rng.choice(((120, 170, 225), (190, 205, 220), (230, 170, 120), (60, 70, 110)))
    _gradient(canvas, 0, horizon, similar(rng, sky, 20), similar(rng, shade(sky, 115), 15))
    ground = rng.choice(((96, 140, 62), (150, 140, 80), (205, 190, 140), (215, 220, 228), (90, 100, 60)))
    _gradient(canvas, horizon, side, similar(rng, ground, 15), similar(rng, shade(ground, 70), 15))
    for _ in range(rng.randrange(1, 4)):  # hills
        x, w, h = between(rng, 0, side), between(rng, 0.2, 0.6) * side, between(rng, 0.04, 0.18) * side
        colour = similar(rng, shade(ground, 80), 20)
        canvas.fill(
            [(x - w, horizon + 1), (x - w / 3, horizon - h * 0.8), (x, horizon - h), (x + w, horizon + 1)], colour
        )
    for _ in range(rng.randrange(6, 22)):  # stones and tufts
        x, y = between(rng, 0, side), between(rng, horizon, side)
        canvas.ellipse(x, y, between(rng, 1, 7), between(rng, 1, 3), similar(rng, shade(ground, 85), 30))


def _street(canvas: Canvas, rng: random.Random, horizon: float) -> None:
    side = canvas.side
    _gradient(canvas, 0, horizon, similar(rng, (170, 190, 215), 40), similar(rng, (200, 205, 210), 30))
    _gradient(canvas, horizon, side, similar(rng, (120, 120, 122), 20), similar(rng, (85, 85, 90), 20))
    x = -between(rng, 0, 30)
    while x < side:  # a row of houses with windows and doors
        w, h = between(rng, 0.16, 0.4) * side, between(rng, 0.18, 0.62) * side
        wall = similar(rng, rng.choice(((170, 110, 90), (200, 190, 170), (130, 135, 145), (210, 170, 120))), 30)
        canvas.box(x, horizon - h, x + w, horizon + side * 0.04, wall)
        pane = similar(rng, rng.choice(((60, 70, 90), (230, 215, 150), (40, 45, 55))), 20)
        columns, step = rng.randrange(2, 5), between(rng, 0.07, 0.12) * side
        for column in range(columns):
            wx, wy = x + w * (column + 0.25) / columns, horizon - h + step * 0.4
            while wy < horizon - step:
                canvas.box(wx, wy, wx + w * 0.45 / columns, wy + step * 0.55, pane)
                wy += step
        door = x + w * between(rng, 0.1, 0.8)
        canvas.box(door, horizon - side * 0.10, door + side * 0.05, horizon + side * 0.04, shade(wall, 55))
        x += w
    for k in range(rng.randrange(0, 7)):  # road marks
        y = horizon + (side - horizon) * between(rng, 0.2, 0.9)
        canvas.box(k * side / 5, y, k * side / 5 + side * 0.1, y + 4, (215, 215, 205))


def _room(canvas: Canvas, rng: random.Random, horizon: float) -> None:
    side = canvas.side
    wall, floor = random_colour(rng, 110, 230), random_colour(rng, 60, 180)
    _gradient(canvas, 0, horizon, shade(wall, 90), wall)
    _gradient(canvas, horizon, side, floor, shade(floor, 70))
    canvas.box(0, horizon - 5, side, horizon, shade(wall, 65))
    for _ in range(rng.randrange(2, 6)):  # pictures, cupboards, curtains
        x, y = between(rng, 0, 0.85) * side, between(rng, 0, 0.6) * horizon
        w, h = between(rng, 0.06, 0.28) * side, between(rng, 0.08, 0.5) * side
        frame = random_colour(rng)
        canvas.box(x, y, x + w, min(y + h, horizon), frame)
        canvas.box(x + 4, y + 4, x + w - 4, min(y + h, horizon) - 4, similar(rng, frame, 60))
