"""Record a table: train every point of a grid over a search space, once for real.

    python -m benchmarks.search.record [drawn] [--workers 2]

This takes hours. The trainings run in a clone of this repository's last commit in .cache/search/, with the workers of a
study, one thread each. Every training is an experiment of DVC there, so the same command goes on after a kill. The
table is written to benchmarks/search/tables/ after each training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.git import commit
from stages.base.paths import ROOT, main_root
from stages.base.tables import write_table
from stages.experiments import refs
from stages.experiments.finished import FinishedTraining, finished_training
from stages.experiments.identity import code_digests
from stages.experiments.lock import prepared, read_lock
from stages.experiments.workshop import Origin
from stages.params import file as params_file
from stages.params.resolution import resolved
from stages.params.space import Point, same
from stages.workers.messages import EpochEnded, Failed, Task
from stages.workers.pool import LOGS, WorkerPool
from stages.workers.process import places

HOME = main_root() / ".cache" / "search"
TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Recipe:
    """What a table is made of.

    Attributes:
        preset: The name of a preset, and the keys that differ from it, as `python -m stages preset` takes them.
        axes: The values of each searched key. Together they make the grid.
        seeds: The training seeds of every point.
        repeated: The number of points, drawn at random, that are trained with REPEAT_SEEDS too.
    """

    preset: tuple[str, ...]
    axes: dict[str, tuple[Any, ...]]
    seeds: tuple[int, ...] = (0,)
    repeated: int = 0

    def points(self) -> list[Point]:
        """Return all points to train, with their seeds, in the order of the trainings."""
        grid = [dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())]
        random.Random(0).shuffle(grid)  # a table that is not yet complete then covers the whole space
        points = [{**point, "seed": seed} for seed in self.seeds for point in grid]
        return points + [{**point, "seed": seed} for point in grid[: self.repeated] for seed in REPEAT_SEEDS]


REPEAT_SEEDS = (1, 2)

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
    ),
    "other_drawn": Recipe(
        preset=("drawn", "data.seed=7", "data.imgsz=128"),
        axes={
            "epochs": (2, 3, 4, 5),
            "imgsz": (96, 128),
            "lr0": (5e-4, 1.5e-3, 3e-3, 5e-3),
            "batch": (4, 8),
            "scale": (0.0, 0.2, 0.5),
        },
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
        seeds=(0, 1, 2),
    ),
}
"""The tables. The default of the search was chosen on `drawn`; the two others check it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="drawn", choices=RECIPES)
    parser.add_argument("--workers", type=int, default=None, help="trainings at once; one per core by default")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further keys of params.yaml")
    parser.add_argument("--out", type=Path, help="train in this checkout, into this file; the clone is started so")
    options = parser.parse_args()
    if options.out:
        record(options.name, options.workers, options.out)
        return
    clone = HOME / options.name
    if not (clone / "data" / "prepared").is_dir():
        shutil.rmtree(clone, ignore_errors=True)
        prepare_clone(clone, [*RECIPES[options.name].preset, *options.set])
    command = [sys.executable, "-m", "benchmarks.search.record", options.name]
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    _run([*command, *workers, "--out", str(TABLES / f"{options.name}.csv")], clone)


def prepare_clone(clone: Path, preset: list[str]) -> None:
    """Clone this repository, write a preset to params.yaml, prepare the data, and commit that."""
    clone.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
    _run([sys.executable, "-m", "stages", "preset", *preset], clone)
    _run([sys.executable, "-m", "dvc", "repro", "prepare"], clone)
    author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    _run(["git", *author, "commit", "-q", "--allow-empty", "-am", "Prepare the data of a table"], clone)


def _run(command: list[str], folder: Path) -> None:
    # Variables of a running dvc command belong to its own repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    subprocess.run(command, cwd=folder, env={**environment, "YOLO_OFFLINE": "true"}, check=True)


def record(name: str, workers: int | None, out: Path) -> None:
    """Train all points of a table that have no experiment in this checkout, and write the table after each.

    Args:
        name: The name of the table.
        workers: The number of trainings at once, or None for one per core.
        out: The file of the table.
    """
    recipe = RECIPES[name]
    points = {f"{name}-{_digest(point)}": point for point in recipe.points()}
    origin = Origin(commit(), params_file.PARAMS.read_text("utf-8"), (ROOT / "dvc.lock").read_text("utf-8"))
    written = params_file.load().written()
    done = refs.experiments()
    waiting = [run for run in points if run not in done]
    trained = [training for run in points if run in done and (training := finished_training(run))]
    print(f"{len(trained)} of {len(points)} points are trained", flush=True)
    with WorkerPool(places(workers, "cpu"), origin) as pool:
        while waiting or pool.has_running_task:
            while waiting and pool.has_free_worker:
                run = waiting.pop(0)
                pool.submit(Task(run, points[run], resolved({**written, **points[run]}), LOGS / f"{run}.log"))
            for task, outcome in pool.receive(_go_on):
                training = finished_training(task.name)
                if isinstance(outcome, Failed) or training is None:
                    raise RuntimeError(f"{task.name} {task.values}: {outcome}")
                trained.append(training)
                write_atomic(out, table(recipe, trained))
                print(f"{len(trained)} of {len(points)}: {task.values}: {training.metrics['mAP50']}", flush=True)
    write_atomic(out, table(recipe, trained))


def _go_on(task: Task, epoch: EpochEnded) -> bool:
    return False


def _digest(point: Point) -> str:
    return hashlib.sha256(repr(same(point)).encode()).hexdigest()[:10]


def table(recipe: Recipe, trained: Iterable[FinishedTraining]) -> str:
    """Return the table as comma-separated values: a row for each training, sorted by seed and point.

    Columns: the searched keys; seed; mAP50 of the trained model on the validation split (0 to 1); curve, the same after
    each epoch; seconds of the training; data and code, the first digits of the digests of both.
    """
    keys = ["seed", *recipe.axes]
    data = prepared(read_lock(ROOT))["md5"][:12]
    code = hashlib.sha256(json.dumps(dict(code_digests()), sort_keys=True).encode()).hexdigest()[:12]
    rows = []
    for training in trained:
        point = [training.arguments[key] for key in keys]
        results = [training.metrics["mAP50"], list(training.curve), training.metrics["train_seconds"]]
        rows.append([*point, *results, data, code])
    return write_table([*keys, "mAP50", "curve", "seconds", "data", "code"], sorted(rows))


if __name__ == "__main__":
    main()
