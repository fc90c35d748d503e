"""Play samplers and pruners on a recorded table of real trainings, and compare them at equal cost.

    python -m benchmarks.search [drawn] [--seeds 200] [--bad-start] [--figure search.png]

A play is a study whose trainings are answered by the table, with the differences between seeds that the table's repeats
have. Every method knows the values of params.yaml from the start, as after `dvc repro`. The setting that a study would
choose, the best that it has seen, counts with its mean mAP50 in the table. Regret is how far that is below the best
point of the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.common import at_least_one
from benchmarks.search.compare import best_so_far, figure, grid_orders, open_table, play_all, report
from benchmarks.search.recipes import RECIPES
from stages.base import failures
from stages.base.files import write_atomic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="drawn", choices=RECIPES)
    parser.add_argument("--seeds", type=at_least_one, default=200)
    parser.add_argument("--bad-start", action="store_true", help="begin at values of params.yaml far from the best")
    parser.add_argument("--figure", type=Path, help="a PNG of the best value so far over the seconds, one worker")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # of the processes that play
    table = open_table(options.name)
    results = play_all(options.name, options.seeds, options.bad_start)
    grid = [] if options.bad_start else grid_orders(options.name, table)  # the grid is around the good values
    print("\n".join([*report(options.name, table, results, grid), "", *best_so_far(results, grid)]))
    if options.figure:
        one_worker = {method: plays for (method, workers), plays in results.items() if workers == 1}
        write_atomic(options.figure, figure(table, one_worker, grid))


if __name__ == "__main__":
    failures.run(main)
