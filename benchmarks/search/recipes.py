"""The recipes of the recorded tables."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from typing import Any

from stages.params.space import Point


@dataclass(frozen=True)
class Recipe:
    """The recipe of a table.

    Attributes:
        preset: The name of a preset, and the keys that differ from it, as `python -m stages preset` takes them.
        axes: The values of each searched key. Together they make the grid.
        seeds: The training seeds of every point.
        repeated: The number of points, drawn at random, that are trained with REPEAT_SEEDS too.
        repeated_best: The number of the best points that are trained with REPEAT_SEEDS too.
        space: The search space that a study plays on the table, as in `tune.space`.
        start: The values at which params.yaml stands in a play.
        bad_start: Values far from the best, for plays that begin there.
    """

    preset: tuple[str, ...]
    axes: dict[str, tuple[Any, ...]]
    space: dict[str, dict[str, Any]]
    start: Point
    bad_start: Point
    seeds: tuple[int, ...] = (0,)
    repeated: int = 0
    repeated_best: int = 0

    def points(self) -> list[Point]:
        """Return all points to train, with their seeds, in the order of the trainings."""
        grid = [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]
        random.Random(0).shuffle(grid)  # a table that is not yet complete then covers the whole space
        points = [{**point, "seed": seed} for seed in self.seeds for point in grid]
        return points + [{**point, "seed": seed} for point in grid[: self.repeated] for seed in REPEAT_SEEDS]


REPEAT_SEEDS = (1, 2)


def _drawn_space(*imgsz: int) -> dict[str, dict[str, Any]]:
    """Return the default search space, with these image sizes."""
    return {
        "epochs": {"low": 2, "high": 5},
        "imgsz": {"choices": list(imgsz)},
        "lr0": {"low": 5e-4, "high": 5e-3, "log": True},
        "batch": {"choices": [4, 8]},
        "scale": {"low": 0.0, "high": 0.5, "step": 0.1},
    }


RECIPES = {
    "drawn": Recipe(
        preset=("drawn",),
        axes={
            "epochs": (2, 3, 4, 5),
            "imgsz": (128, 160),
            "lr0": (5e-4, 1e-3, 2e-3, 3.2e-3, 5e-3),
            "batch": (4, 8),
            "scale": (0.0, 0.2, 0.5),
        },
        repeated=16,
        repeated_best=8,
        space=_drawn_space(128, 160),
        start={"epochs": 4, "imgsz": 160, "lr0": 0.002, "batch": 4, "scale": 0.2},
        bad_start={"epochs": 3, "imgsz": 128, "lr0": 0.005, "batch": 8, "scale": 0.5},
    ),
    "other_drawn": Recipe(
        preset=("drawn", "data.seed=7", "data.imgsz=128"),
        axes={
            "epochs": (2, 3, 4, 5),
            "imgsz": (96, 128),
            "lr0": (5e-4, 1.5e-3, 3e-3, 5e-3),
            "batch": (4, 8),
            "scale": (0.0, 0.5),
        },
        space=_drawn_space(96, 128),
        start={"epochs": 4, "imgsz": 128, "lr0": 0.002, "batch": 4, "scale": 0.2},
        bad_start={"epochs": 3, "imgsz": 96, "lr0": 0.005, "batch": 8, "scale": 0.5},
    ),
    "photographs": Recipe(
        preset=("tiny_coco",),
        axes={
            "epochs": (2, 3, 4),
            "imgsz": (320,),
            "lr0": (1e-5, 3e-5, 5e-5, 1e-4, 2e-4),
            "batch": (4, 8),
            "scale": (0.2,),
        },
        space={
            "epochs": {"low": 2, "high": 4},
            "lr0": {"low": 1e-5, "high": 2e-4, "log": True},
            "batch": {"choices": [4, 8]},
        },
        start={"epochs": 3, "imgsz": 320, "lr0": 5e-5, "batch": 4, "scale": 0.2},
        bad_start={"epochs": 2, "imgsz": 320, "lr0": 2e-4, "batch": 8, "scale": 0.2},
        seeds=(0, 1, 2),
    ),
}
"""The tables. The default of the search was chosen on `drawn`; the two others check it."""
