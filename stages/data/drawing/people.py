"""People: one figure in a random pose, with random clothes."""

from __future__ import annotations

import math
import random

from stages.data.drawing.canvas import Canvas, Point
from stages.data.drawing.random_values import Colour, between, random_colour, shade, similar

SKIN: tuple[Colour, ...] = (
    (255, 219, 186), (241, 194, 155), (224, 172, 120), (198, 134, 90), (161, 102, 62), (120, 74, 45), (84, 51, 33),
)  # fmt: skip
HAIR: tuple[Colour, ...] = ((28, 22, 20), (62, 40, 26), (112, 76, 42), (190, 150, 84), (150, 150, 152), (130, 50, 30))


def _toward(start: Point, slope: float, length: float) -> Point:
    """Return the point at distance `length` below `start`, `slope` sideways for each unit down. No angle is needed."""
    norm = math.sqrt(1 + slope * slope)
    return start[0] + length * slope / norm, start[1] + length / norm


def draw_person(canvas: Canvas, rng: random.Random, base: float, height: float) -> None:
    """Draw a person of `height` drawn pixels, about seven heads tall, whose feet stand at the y `base`."""
    canvas.begin_person()
    x = between(rng, 0.04, 0.96) * canvas.side
    head = height / between(rng, 6.2, 7.8)
    girth = between(rng, 0.8, 1.35)
    skin, hair = similar(rng, rng.choice(SKIN), 10), rng.choice(HAIR)
    top, trousers = (
        random_colour(rng),
        rng.choice((random_colour(rng, 20, 120), (40, 50, 90), (70, 70, 75), random_colour(rng))),
    )
    shoes = random_colour(rng, 10, 120)
    pose = rng.choice(("stand", "walk", "walk", "run", "sit", "reach", "bend"))
    side_view = pose in ("walk", "run", "bend") or rng.random() < 0.25

    leg, torso = height * 0.47, height * 0.33
    hip_y = base - leg * (0.55 if pose == "sit" else 0.97)
    lean = {"run": 0.25, "bend": 0.75, "walk": 0.06}.get(pose, 0.0) * rng.choice((-1, 1)) + between(rng, -0.06, 0.06)
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
            knee = _toward(hip, way * spread * between(rng, 0.5, 1.1), leg * 0.5)
            bent = -0.5 if pose == "run" and way < 0 else 0.0
            foot = _toward(knee, way * spread * 0.7 + bent, leg * 0.48)
        legs.append((hip, knee, foot))
    arms = []
    swing = {"stand": 0.12, "walk": 0.35, "run": 0.7, "sit": 0.3, "reach": 0.2, "bend": 0.4}[pose]
    for way in (-1, 1):
        shoulder = (neck[0] + way * wide * 0.42, neck[1] + head * 0.28)
        up = pose == "reach" and (way > 0 or rng.random() < 0.5)
        slope = way * swing * between(rng, 0.6, 1.4)
        elbow = _toward(shoulder, -slope if up else slope, -head * 1.3 if up else head * 1.35)
        bend = between(rng, -0.6, 0.9) * swing
        hand = _toward(elbow, bend if up else bend - way * 0.2, -head * 1.2 if up else head * 1.25)
        arms.append((shoulder, elbow, hand))

    sleeve = top if rng.random() < 0.6 else skin
    bare = rng.random() < 0.3  # shorts or a skirt
    thick = head * 0.62 * girth

    def arm(joints: tuple[Point, Point, Point], percent: int) -> None:
        shoulder, elbow, hand = joints
        canvas.limb(shoulder, elbow, thick * 0.72, thick * 0.58, shade(top, percent))
        canvas.limb(elbow, hand, thick * 0.55, thick * 0.42, shade(sleeve, percent))
        canvas.ellipse(*hand, thick * 0.28, thick * 0.28, shade(skin, percent))

    arm(arms[0], 80)
    for (hip, knee, foot), percent in zip(legs, (82, 100), strict=True):
        canvas.limb(hip, knee, thick, thick * 0.78, shade(trousers, percent))
        canvas.limb(knee, foot, thick * 0.74, thick * 0.5, shade(skin if bare else trousers, percent))
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
        flare = between(rng, 0.7, 1.1) * head
        canvas.fill(
            [(x - hips / 2, hip_y - head * 0.2), (x + hips / 2, hip_y - head * 0.2),
             (x + flare, hip_y + leg * 0.42), (x - flare, hip_y + leg * 0.42)],
            trousers,
        )  # fmt: skip
    canvas.limb(neck, (neck[0] + lean * head * 0.4, neck[1] - head * 0.25), head * 0.38, head * 0.38, shade(skin, 88))
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
        canvas.box(hand[0] - head * 0.4, hand[1], hand[0] + head * 0.4, hand[1] + head * 0.8, random_colour(rng))
    canvas.end_person()
