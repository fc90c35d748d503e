"""Drawn people over drawn scenes: a data set without network, the same bytes on any machine.

Everything that decides a pixel is integer arithmetic or IEEE basic operations: positions come from `random.Random`
(Mersenne Twister, the same on every platform), shapes are filled by OpenCV's fixed-point polygon fill, noise is PCG64's
raw stream, scaling is an integer mean, and libjpeg-turbo's default DCT is bit-exact. No sine, no logarithm, no SIMD
resize: those differ in the last bit between machines.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from stages.base.failures import Failure
from stages.data.samples import Box, Collection, Picture, Pixels, encode

SPLIT = {"train": 256, "val": 64, "test": 64}  # images
IMGSZ = 160  # pixels, square

SUPERSAMPLE = 2  # drawn at twice the size, then averaged: smooth edges
FIXED_POINT = 4  # fractional bits of a vertex that OpenCV's fill takes
HAZE = (2, 3)  # parts of the scene, and of one colour over it
LEAST_VISIBLE = 0.3  # a person more hidden than this is not labelled, as an annotator would not
LEAST_PIXELS = 60  # at the drawn size; smaller visible patches are not labelled

Colour = tuple[int, int, int]
Point = tuple[float, float]

SKIN: tuple[Colour, ...] = (
    (255, 219, 186), (241, 194, 155), (224, 172, 120), (198, 134, 90), (161, 102, 62), (120, 74, 45), (84, 51, 33),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((28, 22, 20), (62, 40, 26), (112, 76, 42), (190, 150, 84), (150, 150, 152), (130, 50, 30))

# An ellipse as a polygon: 16 directions from Pythagorean triples, exact without a sine.
_QUARTER: tuple[Point, ...] = ((1.0, 0.0), (12 / 13, 5 / 13), (0.7071, 0.7071), (5 / 13, 12 / 13))
_CIRCLE: tuple[Point, ...] = tuple(
    p for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)) for p in ((a * x - b * y, a * y + b * x) for a, b in _QUARTER)
)


@dataclass(frozen=True)
class Drawn:
    """One drawn picture, identified by the seed of the data set, its split and its number."""

    name: str
    split: str
    seed: int
    number: int
    imgsz: int

    @property
    def origin(self) -> str:
        return self.name

    def read(self, longest: int | None = None) -> Picture:
        """Draw it: the encoded JPEG and its boxes."""
        pixels, boxes = draw(random.Random(f"{self.seed}/{self.split}/{self.number}"), self.imgsz)
        return Picture(encode(pixels), ".jpg", pixels, boxes)


def collect(parts: dict[str, float] | None, seed: int, imgsz: int) -> Collection:
    """The pictures of the data set, `imgsz` x `imgsz` pixels each.

    Args:
        parts: Images of each split; None is 256, 64 and 64.
        seed: Another seed draws other pictures.
        imgsz: Pixels of a side.

    Raises:
        Failure: `parts` holds fractions: there is no whole to take them of.
    """
    counts = parts or SPLIT
    if any(isinstance(count, float) for count in counts.values()):
        raise Failure("data.split: fractions have no meaning for source synthetic; give whole numbers of images")
    return Collection(
        [
            Drawn(f"{split}-{number:05d}", split, seed, number, imgsz)
            for split, count in counts.items()
            for number in range(int(count))
        ]
    )


def draw(rng: random.Random, imgsz: int) -> tuple[Pixels, tuple[Box, ...]]:
    """Draw one scene with one to four people.

    Returns:
        The image, uint8 of shape (imgsz, imgsz, 3) in OpenCV's channel order, and a box around the
        visible part of each person, whatever hides the rest.
    """
    canvas = Canvas(imgsz * SUPERSAMPLE)
    horizon = _scene(canvas, rng)
    side = canvas.side

    objects: list[tuple[float, Callable[[float], None]]] = []
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        height = side * _between(rng, 0.40, 0.85)
        objects.append((_base(rng, height, horizon, side), partial(_person, canvas, rng, height=height)))
    for _ in range(rng.randrange(1, 4)):
        height = side * _between(rng, 0.16, 0.55)
        thing = rng.choice(_THINGS)
        objects.append((_base(rng, height, horizon, side), partial(thing, canvas, rng, height=height)))
    for base, paint in sorted(objects, key=lambda pair: pair[0]):  # the nearer stands lower, and in front
        paint(base)

    return canvas.picture(rng), canvas.boxes()


class Canvas:
    """An image at the drawn size, and beside it who owns each pixel."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixels = np.zeros((side, side, 3), np.uint8)
        self.owner = np.zeros((side, side), np.uint8)  # 0 is nobody, n the nth person
        self.drawn: list[int] = []  # pixels of each person before anything hid them
        self._person = 0

    def begin_person(self) -> None:
        self.drawn.append(0)
        self._person = len(self.drawn)

    def end_person(self) -> None:
        self.drawn[-1] = int((self.owner == self._person).sum())
        self._person = 0

    def fill(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon; it belongs to the person begun, or to nobody, and hides what was there."""
        unit = 1 << FIXED_POINT
        vertices = np.array([[math.floor(x * unit + 0.5), math.floor(y * unit + 0.5)] for x, y in points], np.int32)
        cv2.fillPoly(self.pixels, [vertices], colour[::-1], cv2.LINE_8, FIXED_POINT)
        cv2.fillPoly(self.owner, [vertices], self._person, cv2.LINE_8, FIXED_POINT)  # type: ignore[call-overload]

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self.fill([(x + rx * a, y + ry * b) for a, b in _CIRCLE], colour)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        self.fill([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)

    def limb(self, a: Point, b: Point, width_a: float, width_b: float, colour: Colour) -> None:
        """A tapered bar from `a` to `b` with round ends."""
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
        """The image at its final size: averaged, lit, and with the noise of a cheap sensor."""
        n = self.side // SUPERSAMPLE
        total = self.pixels.reshape(n, SUPERSAMPLE, n, SUPERSAMPLE, 3).sum(axis=(1, 3), dtype=np.int32)
        gain = rng.randrange(80, 121)  # percent
        strength = rng.randrange(2, 9)
        raw = np.random.PCG64(rng.getrandbits(64)).random_raw(-(-n * n * 3 // 8))
        noise = raw.astype("<u8").view(np.uint8)[: n * n * 3].reshape(n, n, 3).astype(np.int32) - 128
        lit = total * gain // (SUPERSAMPLE * SUPERSAMPLE * 100) + noise * strength // 128
        return np.clip(lit, 0, 255).astype(np.uint8)

    def boxes(self) -> tuple[Box, ...]:
        found: list[Box] = []
        for person, drawn in enumerate(self.drawn, start=1):
            rows, columns = np.nonzero(self.owner == person)
            if len(rows) < max(LEAST_PIXELS, LEAST_VISIBLE * drawn):
                continue
            x1, x2 = int(columns.min()), int(columns.max()) + 1
            y1, y2 = int(rows.min()), int(rows.max()) + 1
            doubled = 2 * self.side
            found.append((0, (x1 + x2) / doubled, (y1 + y2) / doubled, (x2 - x1) / self.side, (y2 - y1) / self.side))
        return tuple(found)


def _between(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _colour(rng: random.Random, low: int = 20, high: int = 235) -> Colour:
    return rng.randrange(low, high), rng.randrange(low, high), rng.randrange(low, high)


def _shade(colour: Colour, percent: int) -> Colour:
    r, g, b = (min(255, c * percent // 100) for c in colour)
    return r, g, b


def _near(rng: random.Random, colour: Colour, spread: int) -> Colour:
    r, g, b = (min(255, max(0, c + rng.randrange(-spread, spread + 1))) for c in colour)
    return r, g, b


def _base(rng: random.Random, height: float, horizon: float, side: int) -> float:
    """Where a thing of this height stands: on the ground, the taller the nearer, some cut by the lower edge."""
    return max(horizon, side * 0.30 + height * 0.62) + side * _between(rng, 0.02, 0.20)


# Scenes -------------------------------------------------------------------------------------------------------------


def _scene(canvas: Canvas, rng: random.Random) -> float:
    """Paint a background and return the y of its horizon, in drawn pixels."""
    side = canvas.side
    horizon = side * _between(rng, 0.28, 0.62)
    rng.choice((_field, _street, _room))(canvas, rng, horizon)
    haze = np.array(_colour(rng, 90, 200), np.int32)  # far things are paler than near ones
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
    _gradient(canvas, 0, horizon, _near(rng, sky, 20), _near(rng, _shade(sky, 115), 15))
    ground = rng.choice(((96, 140, 62), (150, 140, 80), (205, 190, 140), (215, 220, 228), (90, 100, 60)))
    _gradient(canvas, horizon, side, _near(rng, ground, 15), _near(rng, _shade(ground, 70), 15))
    for _ in range(rng.randrange(1, 4)):  # hills
        x, w, h = _between(rng, 0, side), _between(rng, 0.2, 0.6) * side, _between(rng, 0.04, 0.18) * side
        colour = _near(rng, _shade(ground, 80), 20)
        canvas.fill(
            [(x - w, horizon + 1), (x - w / 3, horizon - h * 0.8), (x, horizon - h), (x + w, horizon + 1)], colour
        )
    for _ in range(rng.randrange(6, 22)):  # stones and tufts
        x, y = _between(rng, 0, side), _between(rng, horizon, side)
        canvas.ellipse(x, y, _between(rng, 1, 7), _between(rng, 1, 3), _near(rng, _shade(ground, 85), 30))


def _street(canvas: Canvas, rng: random.Random, horizon: float) -> None:
    side = canvas.side
    _gradient(canvas, 0, horizon, _near(rng, (170, 190, 215), 40), _near(rng, (200, 205, 210), 30))
    _gradient(canvas, horizon, side, _near(rng, (120, 120, 122), 20), _near(rng, (85, 85, 90), 20))
    x = -_between(rng, 0, 30)
    while x < side:  # a row of houses with windows and doors
        w, h = _between(rng, 0.16, 0.4) * side, _between(rng, 0.18, 0.62) * side
        wall = _near(rng, rng.choice(((170, 110, 90), (200, 190, 170), (130, 135, 145), (210, 170, 120))), 30)
        canvas.box(x, horizon - h, x + w, horizon + side * 0.04, wall)
        pane = _near(rng, rng.choice(((60, 70, 90), (230, 215, 150), (40, 45, 55))), 20)
        columns, step = rng.randrange(2, 5), _between(rng, 0.07, 0.12) * side
        for column in range(columns):
            wx, wy = x + w * (column + 0.25) / columns, horizon - h + step * 0.4
            while wy < horizon - step:
                canvas.box(wx, wy, wx + w * 0.45 / columns, wy + step * 0.55, pane)
                wy += step
        door = x + w * _between(rng, 0.1, 0.8)
        canvas.box(door, horizon - side * 0.10, door + side * 0.05, horizon + side * 0.04, _shade(wall, 55))
        x += w
    for k in range(rng.randrange(0, 7)):  # road marks
        y = horizon + (side - horizon) * _between(rng, 0.2, 0.9)
        canvas.box(k * side / 5, y, k * side / 5 + side * 0.1, y + 4, (215, 215, 205))


def _room(canvas: Canvas, rng: random.Random, horizon: float) -> None:
    side = canvas.side
    wall, floor = _colour(rng, 110, 230), _colour(rng, 60, 180)
    _gradient(canvas, 0, horizon, _shade(wall, 90), wall)
    _gradient(canvas, horizon, side, floor, _shade(floor, 70))
    canvas.box(0, horizon - 5, side, horizon, _shade(wall, 65))
    for _ in range(rng.randrange(2, 6)):  # pictures, cupboards, curtains
        x, y = _between(rng, 0, 0.85) * side, _between(rng, 0, 0.6) * horizon
        w, h = _between(rng, 0.06, 0.28) * side, _between(rng, 0.08, 0.5) * side
        frame = _colour(rng)
        canvas.box(x, y, x + w, min(y + h, horizon), frame)
        canvas.box(x + 4, y + 4, x + w - 4, min(y + h, horizon) - 4, _near(rng, frame, 60))


# People -------------------------------------------------------------------------------------------------------------


def _toward(start: Point, slope: float, length: float) -> Point:
    """The point `length` below `start`, leaning `slope` sideways for each unit down; exact without an angle."""
    norm = math.sqrt(1 + slope * slope)
    return start[0] + length * slope / norm, start[1] + length / norm


def _person(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    """A figure of `height` drawn pixels whose feet stand at `base`: about seven and a half heads tall."""
    canvas.begin_person()
    x = _between(rng, 0.04, 0.96) * canvas.side
    head = height / _between(rng, 6.2, 7.8)
    girth = _between(rng, 0.8, 1.35)
    skin, hair = _near(rng, rng.choice(SKIN), 10), rng.choice(HAIR)
    top, trousers = _colour(rng), rng.choice((_colour(rng, 20, 120), (40, 50, 90), (70, 70, 75), _colour(rng)))
    shoes = _colour(rng, 10, 120)
    pose = rng.choice(("stand", "walk", "walk", "run", "sit", "reach", "bend"))
    side_view = pose in ("walk", "run", "bend") or rng.random() < 0.25

    leg, torso = height * 0.47, height * 0.33
    hip_y = base - leg * (0.55 if pose == "sit" else 0.97)
    lean = {"run": 0.25, "bend": 0.75, "walk": 0.06}.get(pose, 0.0) * rng.choice((-1, 1)) + _between(rng, -0.06, 0.06)
    neck = _toward((x, hip_y), -lean, -torso)  # upwards
    wide = head * (0.75 if side_view else 1.15) * girth
    hips = head * (0.62 if side_view else 0.85) * girth

    spread = {"stand": 0.10, "walk": 0.32, "run": 0.6, "sit": 0.25, "reach": 0.16, "bend": 0.15}[pose]
    legs = []
    for way in (-1, 1):
        hip = (x + way * hips * 0.28, hip_y)
        if pose == "sit":
            knee = (hip[0] + way * leg * 0.14 + lean * leg, hip_y + leg * 0.10)
            foot = _toward(knee, way * 0.08, base - knee[1])
        else:
            knee = _toward(hip, way * spread * _between(rng, 0.5, 1.1), leg * 0.5)
            bent = -0.5 if pose == "run" and way < 0 else 0.0
            foot = _toward(knee, way * spread * 0.7 + bent, leg * 0.48)
        legs.append((hip, knee, foot))
    arms = []
    swing = {"stand": 0.12, "walk": 0.35, "run": 0.7, "sit": 0.3, "reach": 0.2, "bend": 0.4}[pose]
    for way in (-1, 1):
        shoulder = (neck[0] + way * wide * 0.42, neck[1] + head * 0.28)
        up = pose == "reach" and (way > 0 or rng.random() < 0.5)
        slope = way * swing * _between(rng, 0.6, 1.4)
        elbow = _toward(shoulder, -slope if up else slope, -head * 1.3 if up else head * 1.35)
        bend = _between(rng, -0.6, 0.9) * swing
        hand = _toward(elbow, bend if up else bend - way * 0.2, -head * 1.2 if up else head * 1.25)
        arms.append((shoulder, elbow, hand))

    sleeve = top if rng.random() < 0.6 else skin
    bare = rng.random() < 0.3  # shorts or a skirt
    thick = head * 0.62 * girth

    def arm(joints: tuple[Point, Point, Point], percent: int) -> None:
        shoulder, elbow, hand = joints
        canvas.limb(shoulder, elbow, thick * 0.72, thick * 0.58, _shade(top, percent))
        canvas.limb(elbow, hand, thick * 0.55, thick * 0.42, _shade(sleeve, percent))
        canvas.ellipse(*hand, thick * 0.28, thick * 0.28, _shade(skin, percent))

    arm(arms[0], 80)
    for (hip, knee, foot), percent in zip(legs, (82, 100), strict=True):
        canvas.limb(hip, knee, thick, thick * 0.78, _shade(trousers, percent))
        canvas.limb(knee, foot, thick * 0.74, thick * 0.5, _shade(skin if bare else trousers, percent))
        toe = head * 0.35 * (1 if lean >= 0 else -1) if side_view else 0
        canvas.ellipse(foot[0] + toe / 2, foot[1], head * 0.34, head * 0.18, shoes)
    canvas.fill(
        [
            (neck[0] - wide / 2, neck[1] + head * 0.12),
            (neck[0] + wide / 2, neck[1] + head * 0.12),
            (x + hips / 2, hip_y + head * 0.15),
            (x - hips / 2, hip_y + head * 0.15),
        ],
        top,
    )
    if bare and rng.random() < 0.5:
        flare = _between(rng, 0.7, 1.1) * head
        canvas.fill(
            [(x - hips / 2, hip_y - head * 0.2), (x + hips / 2, hip_y - head * 0.2),
             (x + flare, hip_y + leg * 0.42), (x - flare, hip_y + leg * 0.42)],
            trousers,
        )  # fmt: skip
    canvas.limb(neck, (neck[0] + lean * head * 0.4, neck[1] - head * 0.25), head * 0.38, head * 0.38, _shade(skin, 88))
    hx, hy = neck[0] + lean * head * 0.7, neck[1] - head * 0.55
    if rng.random() < 0.35:  # long hair
        canvas.ellipse(hx, hy + head * 0.2, head * 0.5, head * 0.72, hair)
    canvas.ellipse(hx, hy, head * 0.40, head * 0.52, skin)
    canvas.fill([(hx - head * 0.42, hy - head * 0.05), (hx - head * 0.3, hy - head * 0.5), (hx, hy - head * 0.62),
                 (hx + head * 0.3, hy - head * 0.5), (hx + head * 0.42, hy - head * 0.05),
                 (hx + head * 0.2, hy - head * 0.25), (hx - head * 0.2, hy - head * 0.25)], hair)  # fmt: skip
    arm(arms[1], 100)
    if rng.random() < 0.2:  # a bag
        hand = arms[1][2]
        canvas.box(hand[0] - head * 0.4, hand[1], hand[0] + head * 0.4, hand[1] + head * 0.8, _colour(rng))
    canvas.end_person()


# Things that are not people -----------------------------------------------------------------------------------------


def _place(canvas: Canvas, rng: random.Random) -> float:
    return _between(rng, 0.0, 1.0) * canvas.side


def _tree(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, bark = _place(canvas, rng), _near(rng, (95, 70, 48), 20)
    leaf = _near(rng, rng.choice(((60, 110, 50), (120, 130, 50), (170, 100, 40), (40, 80, 50))), 20)
    canvas.limb((x, base), (x + _between(rng, -6, 6), base - height * 0.6), height * 0.11, height * 0.07, bark)
    for way in (-1, 1):  # boughs, so that a bare trunk resembles a body with arms
        canvas.limb((x, base - height * 0.5), (x + way * height * 0.2, base - height * 0.7), height * 0.05, 2, bark)
    for _ in range(rng.randrange(0, 6)):
        r = height * _between(rng, 0.12, 0.22)
        cx, cy = x + height * _between(rng, -0.2, 0.2), base - height * _between(rng, 0.62, 0.95)
        canvas.ellipse(cx, cy, r, r * 0.85, _near(rng, leaf, 18))


def _post(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, metal = _place(canvas, rng), _colour(rng, 30, 200)
    canvas.limb((x, base), (x, base - height * 0.9), height * 0.08, height * 0.05, metal)
    if rng.random() < 0.7:  # a lamp: a head on a pole
        r = height * _between(rng, 0.05, 0.09)
        canvas.ellipse(x, base - height * 0.95, r, r * 1.2, rng.choice(((250, 240, 200), *SKIN)))


def _sign(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, face = _place(canvas, rng), _colour(rng)
    canvas.limb((x, base), (x, base - height * 0.7), height * 0.05, height * 0.05, (120, 120, 125))
    r = height * _between(rng, 0.14, 0.22)
    if rng.random() < 0.5:
        canvas.ellipse(x, base - height * 0.8, r, r, face)
        canvas.ellipse(x, base - height * 0.8, r * 0.7, r * 0.7, _shade(face, 140))
    else:
        canvas.box(x - r, base - height, x + r, base - height * 0.6, face)
        canvas.box(x - r * 0.7, base - height * 0.9, x + r * 0.7, base - height * 0.8, _shade(face, 50))


def _animal(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    x, size = _place(canvas, rng), height * 0.7
    coat = _near(rng, rng.choice(((140, 100, 60), (60, 50, 45), (220, 210, 195), (160, 160, 165))), 20)
    way = rng.choice((-1, 1))
    for k in (-0.42, -0.28, 0.25, 0.4):
        canvas.limb((x + k * size, base - size * 0.5), (x + (k + _between(rng, -0.08, 0.08)) * size, base),
                    size * 0.11, size * 0.07, _shade(coat, 85))  # fmt: skip
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
    x, colour = _place(canvas, rng), _colour(rng)
    w, h = height * _between(rng, 0.12, 0.24), height * _between(rng, 0.4, 0.8)
    canvas.fill([(x - w, base - h), (x + w, base - h), (x + w * 0.8, base), (x - w * 0.8, base)], colour)
    canvas.ellipse(x, base - h, w * 1.1, w * 0.35, _shade(colour, 75))


def _coat_stand(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    """Clothes without a body: the hardest to tell from a person."""
    x, cloth = _place(canvas, rng), _colour(rng)
    canvas.limb((x, base), (x, base - height), height * 0.04, height * 0.04, (90, 70, 50))
    w = height * 0.16
    canvas.fill([(x - w * 0.5, base - height * 0.85), (x + w * 0.5, base - height * 0.85),
                 (x + w, base - height * 0.35), (x - w, base - height * 0.35)], cloth)  # fmt: skip


_THINGS = (_tree, _tree, _post, _post, _sign, _animal, _animal, _bin, _coat_stand)
