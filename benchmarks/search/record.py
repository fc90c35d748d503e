"""Record a table: train every point of a grid over a search space, once for real.

    python -m benchmarks.search.record [drawn] [--workers 2]

This takes hours. The trainings run in a clone of this repository's last commit in .cache/search/, with the workers of a
study, one thread each. The table is written to benchmarks/search/tables/ after each training, so the same command
goes on after a kill, also on another machine.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import at_least_one, code_digest, environment, run
from benchmarks.search.recipes import RECIPES, REPEAT_SEEDS, Recipe
from benchmarks.search.table import TABLES, read_rows
from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.formatting import words
from stages.base.git import commit, git
from stages.base.paths import ROOT, main_root
from stages.base.tables import write_table
from stages.experiments.finished import FinishedTraining
from stages.experiments.lock import prepared, read_lock
from stages.experiments.origin import Origin
from stages.params import file as params_file
from stages.params.resolution import resolved
from stages.params.space import Point, same
from stages.search.train_all import train_all
from stages.workers.messages import Task
from stages.workers.pool import LOGS
from stages.workers.process import LocalLauncher, places

HOME = main_root() / ".cache" / "search"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="drawn", choices=RECIPES)
    parser.add_argument("--workers", type=at_least_one, help="trainings at once; one per core by default")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further keys of params.yaml")
    parser.add_argument("--out", type=Path, help="train in this checkout, into this file; the clone is started so")
    options = parser.parse_args()
    if options.out:
        record(options.name, options.workers, options.out)
        return
    clone = HOME / options.name
    prepare_clone(clone, [*RECIPES[options.name].preset, *options.set])
    command = [sys.executable, "-m", "benchmarks.search.record", options.name]
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    out = ["--out", str(TABLES / f"{options.name}.csv")]
    sys.exit(subprocess.run([*command, *workers, *out], cwd=clone, env=environment(), check=False).returncode)


def prepare_clone(clone: Path, preset: list[str]) -> None:
    """Clone this repository, write a preset to params.yaml, prepare the data, and commit that, unless it is there.

    Args:
        clone: The folder of the clone.
        preset: The name of the preset, and the values that differ from it.
    """
    subject = f"Prepare the data of a table: {' '.join(preset)}"
    made_of = f"{commit()} {subject}"
    if (clone / "data" / "prepared").is_dir() and git("log", "-1", "--format=%P %s", root=clone) == made_of:
        return
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
    run(["-m", "stages", "preset", *preset], clone)
    run(["-m", "dvc", "repro", "prepare"], clone)
    commit_all = ["git", "commit", "-q", "--allow-empty", "-am", subject]
    subprocess.run(commit_all, cwd=clone, env=environment(), check=True)


def record(name: str, workers: int | None, out: Path) -> None:
    """Train all points of a table that it does not have yet, and write the table after each.

    Rows of other data or other code are refused: the table of other trainings is not replaced by a part of a new one.

    Args:
        name: The name of the table.
        workers: The number of trainings at once, or None for one per core.
        out: The file of the table.
    """
    recipe, results = RECIPES[name], Results(RECIPES[name], out)
    origin = Origin(commit(), params_file.PARAMS.read_text("utf-8"), (ROOT / "dvc.lock").read_text("utf-8"))
    with LocalLauncher(places(workers, "cpu"), origin) as launcher:
        _train(name, recipe.points(), results, launcher)
        _train(name, results.repeats_of_best(recipe.repeated_best), results, launcher)


def _train(name: str, points: Sequence[Point], results: Results, launcher: LocalLauncher) -> None:
    written = params_file.load().written()
    waiting = [point for point in points if not results.has(point)]
    print(f"{len(points) - len(waiting)} of {len(points)} points are trained", flush=True)
    tasks = {}
    for point in waiting:
        run = f"{name}-{hashlib.sha256(repr(same(point)).encode()).hexdigest()[:10]}"
        tasks[words(point)] = Task(run, point, resolved({**written, **point}), LOGS / f"{run}.log")
    failed: dict[str, str] = {}
    for _, training in train_all(tasks, launcher, failed):
        results.add(training)
    if failed:
        first, reason = next(iter(failed.items()))
        raise Failure(f"{len(failed)} points failed, such as {first}: {reason}")


class Results:
    """The rows of a table, which is written after each new row.

    Columns: seed; the searched keys; mAP50 of the trained model on the validation split (0 to 1); curve, the same after
    each epoch; seconds of the training; data and code, the first digits of the digests of both.
    """

    def __init__(self, recipe: Recipe, path: Path) -> None:
        """Read the rows of the present data and code."""
        self._keys, self._path = ["seed", *recipe.axes], path
        self._columns = [*self._keys, "mAP50", "curve", "seconds", "data", "code"]
        self._made_of = [prepared(read_lock(ROOT))["md5"][:12], code_digest("train")]
        rows = read_rows(path) if path.is_file() else []
        if any([row["data"], row["code"]] != self._made_of for row in rows):
            raise Failure(f"{path} was recorded with other data or code: move it away to record it again")
        self._rows = {self._key(row): [row[column] for column in self._columns] for row in rows}

    def has(self, point: Point) -> bool:
        """Return whether the table has a point."""
        return self._key(point) in self._rows

    def repeats_of_best(self, count: int) -> list[Point]:
        """Return the best points of the first seed with each of REPEAT_SEEDS. The noise is not the same everywhere."""
        rows = [dict(zip(self._columns, row, strict=True)) for row in self._rows.values()]
        best = sorted((row for row in rows if row["seed"] == 0), key=lambda row: -row["mAP50"])[:count]
        return [{**{key: row[key] for key in self._keys}, "seed": seed} for row in best for seed in REPEAT_SEEDS]

    def add(self, training: FinishedTraining) -> None:
        """Add a training, and write the table, sorted by seed and point."""
        measured = [training.metrics["mAP50"], list(training.curve), training.metrics["train_seconds"]]
        point = [training.arguments[key] for key in self._keys]
        self._rows[self._key(training.arguments)] = [*point, *measured, *self._made_of]
        write_atomic(self._path, write_table(self._columns, sorted(self._rows.values())))

    def _key(self, point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        return same({key: point[key] for key in self._keys})


if __name__ == "__main__":
    failures.run(main)
