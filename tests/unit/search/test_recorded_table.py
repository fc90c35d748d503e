"""The claims about the search, held on a recorded table of real trainings with fixed seeds."""

from __future__ import annotations

import statistics
from functools import cache

import numpy as np
import pytest

from benchmarks.search.compare import DEFAULT, METHODS, Steps, grid_orders, lead, open_table, plays
from benchmarks.search.table import Table

SEEDS = range(24)
TABLE = "drawn"


@pytest.fixture(scope="module")
def table() -> Table:
    return open_table(TABLE)


METHOD = {method.name: method for method in METHODS}


@cache
def played(name: str, method: str, workers: int) -> list[Steps]:
    """Play a method on a table with a number of workers; each is played once."""
    return plays(name, METHOD[method], workers, 8, SEEDS)


def regret(table: Table, played: list[Steps], trials: int) -> float:
    return statistics.mean(table.best - play.value[trials] for play in played)


def test_a_table_gives_what_was_trained_and_values_between(table: Table) -> None:
    point = {"epochs": 4, "imgsz": 160, "lr0": 0.002, "batch": 4, "scale": 0.2}
    end = table.result(point).end
    assert end == pytest.approx(0.724, abs=0.03), "the baseline of this project"
    low, high = (table.result({**point, "lr0": lr0}).end for lr0 in (0.002, 0.0032))
    between = table.result({**point, "lr0": 0.0026}).end
    assert min(low, high) <= between <= max(low, high)
    assert table.seconds(point, 4) > table.seconds(point, 3) > 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", [TABLE, "other_drawn"])
def test_after_8_trials_the_default_has_at_most_half_of_the_regret_of_tpe(name: str, workers: int) -> None:
    table = open_table(name)
    tpe = regret(table, played(name, "TPE and median pruner", workers), 8)
    assert regret(table, played(name, DEFAULT.name, workers), 8) <= tpe / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_at_the_cost_of_the_grid_the_default_is_at_its_best_and_over_random_search(table: Table, workers: int) -> None:
    grid = grid_orders(TABLE, table)[0]
    cost = float(grid.time[-1]) / workers
    default = played(TABLE, DEFAULT.name, workers)
    assert np.mean([play.at(cost) >= grid.value[-1] - 1e-9 for play in default]) >= 0.8
    assert lead(default, played(TABLE, "random search", workers), cost) >= 0.9


def test_the_pruner_does_not_stop_the_best() -> None:
    assert sum(play.lost for workers in (1, 2) for play in played(TABLE, DEFAULT.name, workers)) <= 1
