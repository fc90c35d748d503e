"""Compare methods of search by plays on a recorded table, at equal cost."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import permutations, product
from multiprocessing import get_context

import numpy as np
from matplotlib.figure import Figure

from benchmarks.search.play import Ended, Method, chosen, params_of, play
from benchmarks.search.recipes import RECIPES
from benchmarks.search.table import TABLES, Floats, Incomplete, Table
from stages.base.failures import Failure
from stages.base.formatting import markdown_table
from stages.report.drawing import BLACK, BLUE, GREY, ORANGE, SKY, png

DEFAULT = Method("default", {"sampler": "auto", "pruner": "forecast", "patience": None})
METHODS = (
    DEFAULT,
    Method("TPE and median pruner", {"sampler": "tpe", "pruner": "median", "patience": None}),
    Method("plain TPE", {"sampler": "tpe", "pruner": "none", "patience": None}),
    Method("random search", {"sampler": "random", "pruner": "none", "patience": None}),
)
"""The methods. `TPE and median pruner` was the default before this table existed."""

CONTINUOUS = {"lr0": True, "scale": False}
TRIALS = {1: 32, 2: 16, 4: 16}  # by the number of workers
AFTER = (4, 8, 16, 32)  # trials
CLOSE = 0.02  # of mAP50: as close to the best of the table as the noise lets anyone see
SECONDS = (60, 120, 240, 480, 960)
EPOCHS = (4, 8, 16, 32, 64)  # each is one pass over the training images
GRID = {"epochs": (3, 5), "imgsz": (128, 160)}  # the grid of the README


@dataclass(frozen=True)
class Steps:
    """The true mAP50 of the chosen setting of a play, as a step function.

    Attributes:
        time: The seconds since the start of the study at the end of each trial, ascending; shape (trials + 1,).
        epochs: The epochs of all trials that have ended then, same shape.
        value: The true mAP50 of the setting that would be chosen then, same shape.
        pruned: The number of pruned trials.
        lost: Whether the trial that would have become the best was pruned.
    """

    time: Floats
    epochs: Floats
    value: Floats
    pruned: int
    lost: bool

    def at(self, time: float) -> float:
        """Return the value at a time."""
        return self._at(self.time, time)

    def after(self, epochs: float) -> float:
        """Return the value at the moment when this number of epochs was trained."""
        return self._at(self.epochs, epochs)

    def _at(self, costs: Floats, cost: float) -> float:
        return float(self.value[np.searchsorted(costs, cost * (1 + 1e-9), side="right") - 1])


def steps(ended: list[Ended]) -> Steps:
    """Return a play as a step function."""
    best = max(ended, key=lambda trial: trial.unstopped)
    return Steps(
        np.array([trial.time for trial in ended]),
        np.cumsum([float(trial.epochs) for trial in ended]),
        np.array(list(chosen(ended))),
        sum(trial.seen is None for trial in ended),
        best.seen is None,
    )


def open_table(name: str) -> Table:
    """Return a recorded table by its name. Without repeats, it has the noise of the table `drawn`.

    Raises:
        Failure: The table, or `drawn`, is not recorded, or not all of it.
    """
    drawn = None if name == "drawn" else open_table("drawn")
    try:
        return Table(TABLES / f"{name}.csv", CONTINUOUS, drawn)
    except FileNotFoundError:
        raise Failure(f"table {name} is not recorded: run `python -m benchmarks.search.record {name}`") from None
    except Incomplete as error:
        raise Failure(f"{error}: `python -m benchmarks.search.record {name}` goes on with it") from None


def plays(name: str, method: Method, workers: int, trials: int, seeds: Sequence[int], bad: bool = False) -> list[Steps]:
    """Play a method with several sampler seeds, from the values of the recipe or from its bad start."""
    recipe, table = RECIPES[name], open_table(name)
    base = params_of(recipe.space, recipe.bad_start if bad else recipe.start)
    return [steps(play(table, base, method, seed, workers, trials)) for seed in seeds]


Results = dict[tuple[str, int], list[Steps]]
"""The plays by method and number of workers, in the order of the seeds."""


def play_all(name: str, seeds: int, bad: bool = False) -> Results:
    """Play every method with every number of workers, on all cores."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        parts = [range(start, seeds, 4 * cores) for start in range(min(seeds, 4 * cores))]
        waiting = {
            (method.name, workers): [pool.submit(plays, name, method, workers, trials, part, bad) for part in parts]
            for method in METHODS
            for workers, trials in TRIALS.items()
        }
        results: Results = {}
        for key, futures in waiting.items():
            by_seed = {
                seed: one
                for part, future in zip(parts, futures, strict=True)
                for seed, one in zip(part, future.result(), strict=True)
            }
            results[key] = [by_seed[seed] for seed in sorted(by_seed)]
    return results


def grid_orders(name: str, table: Table) -> list[Steps]:
    """Return the README's grid in every order; empty if the table does not have its points."""
    start = RECIPES[name].start
    points = [{**start, **dict(zip(GRID, values, strict=True))} for values in product(*GRID.values())]
    if any(value not in table.axes[key] for key, values in GRID.items() for value in values):
        return []
    orders = []
    for order in permutations(points):
        time = np.cumsum([0.0, *(table.seconds(point, point["epochs"]) for point in order)])
        values = [table.result(start).end, *(table.result(point).end for point in order)]
        epochs = np.cumsum([0.0, *(point["epochs"] for point in order)])
        orders.append(Steps(time, epochs, np.maximum.accumulate(values), 0, False))
    return orders


def report(
    name: str, table: Table, results: Mapping[tuple[str, int], Sequence[Steps]], grid: Sequence[Steps]
) -> list[str]:
    """Return the lines of the comparison."""
    rows = []
    for (method, workers), played in results.items():
        after = [
            f"{statistics.mean(table.best - one.value[count] for one in played):.3f}"
            if all(len(one.value) > count for one in played)
            else "-"
            for count in AFTER
        ]
        times = [seconds_to(one, table.best - CLOSE) for one in played]
        cells = [method, str(workers), *after, f"{np.median(times):.0f}", f"{np.mean(np.isfinite(times)):.0%}"]
        random = results["random search", workers]
        mark = float(grid[0].time[-1]) / workers if grid else float(np.median([one.time[4] for one in random]))
        if grid:
            cells.append(f"{np.mean([one.at(mark) >= grid[0].value[-1] - 1e-9 for one in played]):.0%}")
        cells += [f"{lead(played, random, mark):.0%}", f"{least_difference(played, random):+.3f}"]
        cells += [
            f"{statistics.mean(one.pruned for one in played):.1f}",
            f"{np.mean([one.lost for one in played]):.1%}",
        ]
        rows.append(cells)
    head = ["method", "workers", *(f"regret after {count}" for count in AFTER), f"s to {CLOSE} of the best", "arrived"]
    head += ["at the grid's best, at its cost"] if grid else []
    head += [f"at or above random search, at {'that cost' if grid else 'the cost of its first four trials'}"]
    head += ["least difference to it, upper 95 % limit", "pruned", "best pruned"]
    seeds = len(next(iter(results.values())))
    return [f"table {name}: best mAP50 {table.best:.3f}, {seeds} seeds", *markdown_table(head, rows)]


def best_so_far(results: Mapping[tuple[str, int], Sequence[Steps]], grid: Sequence[Steps]) -> list[str]:
    """Return the lines of mAP50 of the chosen setting over the cost: the mean, and the range of 90 of 100 seeds."""
    sides = {method: played for (method, workers), played in results.items() if workers == 1}
    if grid:
        sides["grid of the README"] = grid
    lines = ["mAP50 of the chosen setting, one worker: mean, and range of 90 of 100 seeds"]
    for unit, costs, value in (("s", SECONDS, Steps.at), ("epochs", EPOCHS, Steps.after)):
        rows = []
        for name, played in sides.items():
            at = [np.array([value(one, cost) for one in played]) for cost in costs]
            bands = [(values.mean(), *np.percentile(values, [5, 95])) for values in at]
            rows.append([name, *(f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in bands)])
        lines += ["", *markdown_table(["method", *(f"{cost} {unit}" for cost in costs)], rows)]
    return lines


def seconds_to(play: Steps, value: float) -> float:
    """Return the seconds until the chosen setting has this value; infinity if it never has."""
    reached = np.flatnonzero(play.value >= value)
    return float(play.time[reached[0]]) if len(reached) else float("inf")


def lead(played: Sequence[Steps], others: Sequence[Steps], time: float) -> float:
    """Return the share of the seeds that are at or over the others at a time, seed by seed."""
    return float(np.mean([one.at(time) >= other.at(time) for one, other in zip(played, others, strict=True)]))


def least_difference(played: Sequence[Steps], others: Sequence[Steps]) -> float:
    """Compute the upper 95 % limit of the mean difference to the others at 40 costs, and return the smallest.

    A negative number means that the method is significantly below the others at one of these costs.
    """
    end = min(float(np.median([one.time[-1] for one in side])) for side in (played, others))
    limits = []
    for time in np.linspace(end / 40, end, 40):
        differences = [one.at(time) - other.at(time) for one, other in zip(played, others, strict=True)]
        error = 1.96 * float(np.std(differences)) / len(differences) ** 0.5
        limits.append(float(np.mean(differences)) + error)
    return min(limits)


def figure(table: Table, played: Mapping[str, Sequence[Steps]], grid: Sequence[Steps]) -> bytes:
    """Draw the chosen setting's mAP50 over the seconds: the mean and the range of 90 of 100 seeds."""
    drawing = Figure(figsize=(10, 5.2), layout="constrained")
    axis = drawing.subplots()
    end = float(np.median([one.time[-1] for one in played[DEFAULT.name]]))
    at = np.linspace(0, end, 300)
    colours = dict(zip(played, (BLUE, SKY, BLACK, GREY), strict=False))
    for name, colour in colours.items():
        values = np.array([[one.at(time) for time in at] for one in played[name]])
        axis.plot(at, values.mean(axis=0), color=colour, linewidth=2.5, label=name)
        if name in (DEFAULT.name, "random search"):
            axis.fill_between(at, *np.percentile(values, [5, 95], axis=0), color=colour, alpha=0.15, linewidth=0)
    if grid:
        until = np.linspace(0, float(grid[0].time[-1]), 100)
        axis.plot(until, [np.mean([one.at(time) for one in grid]) for time in until], color=ORANGE, linestyle="--",
                  linewidth=2.5, label="grid of the README, mean of all orders")  # fmt: skip
    axis.axhline(table.best, color=BLACK, linestyle=":", linewidth=1.5, label="best of the table")
    axis.set_xlabel("seconds of training, one worker")
    axis.set_ylabel("mAP50 of the chosen setting")
    axis.legend(loc="lower right")
    return png(drawing)
