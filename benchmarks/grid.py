"""Compare a grid that is trained at once with the same grid in DVC's queue: time, and points that are there at the end.

    python -m benchmarks.grid [--points 40] [--kills 3]

The trainings are the quick ones of the tests, so that the time is that of the commands. Each way has two workers and a
clone of its own. The grid that is trained at once then runs again in a new clone, is killed some times, and the same
command is repeated.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.common import at_least_one, environment, fresh_clone, run
from stages.base import failures
from stages.base.processes import end_children
from tests.helpers.project import FAKES

LIMIT = 1800  # seconds for each way
QUICK = {"PYTHONPATH": str(FAKES)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=at_least_one, default=40)
    parser.add_argument("--kills", type=at_least_one, default=3)
    options = parser.parse_args()
    rates = ",".join(f"{0.00105 + number * 0.0001:.5f}" for number in range(options.points))
    grid = ["-m", "stages", "grid", f"lr0={rates}"]
    now, queue = at_once(grid), queued(grid)
    for name, (seconds, count) in (("--now", now), ("DVC's queue, -j 2", queue)):
        print(f"{name}: {count} of {options.points} points in {seconds:.0f} s")
    print(f"ratio of the times: {now[0] / queue[0]:.2f}")
    count, kills = killed(grid, options.kills)
    print(f"--now with {kills} kills: {count} of {options.points} points")


def at_once(grid: list[str]) -> tuple[float, int]:
    """Return the seconds of `--now`, and the number of points at the end."""
    with prepared_clone() as clone:
        begun = time.monotonic()
        run([*grid, "--now"], clone, QUICK, LIMIT)
        return time.monotonic() - begun, len(points(clone))


def queued(grid: list[str]) -> tuple[float, int]:
    """Return the seconds of DVC's queue until nothing is queued or running, and the number of points at the end."""
    with prepared_clone() as clone:
        begun = time.monotonic()
        run(grid, clone, QUICK, LIMIT)
        start_queue(clone)
        while True:
            status = run(["-m", "dvc", "queue", "status"], clone, QUICK, LIMIT)
            is_over = not any(word in status for word in ("Queued", "Running"))
            if is_over or time.monotonic() - begun > LIMIT:
                return time.monotonic() - begun, len(points(clone))
            time.sleep(1)


def start_queue(clone: Path) -> None:
    """Start DVC's queue. Its workers live on, and would keep a pipe open."""
    command = [sys.executable, "-m", "dvc", "queue", "start", "-j", "2"]
    nowhere = subprocess.DEVNULL
    subprocess.run(command, cwd=clone, env=environment(QUICK), stdout=nowhere, stderr=nowhere, check=True)


def killed(grid: list[str], kills: int) -> tuple[int, int]:
    """Kill `--now` up to so many times, let it end, and return the number of points, and of kills."""
    done = 0
    with prepared_clone() as clone:
        for kill in range(kills):
            process = subprocess.Popen(
                [sys.executable, *grid, "--now"], cwd=clone, env=environment(QUICK), stdout=subprocess.DEVNULL
            )
            begun = time.monotonic()
            while len(points(clone)) < 6 * (kill + 1) and process.poll() is None and time.monotonic() - begun < LIMIT:
                time.sleep(0.2)
            if process.poll() is None:  # it had not ended before enough points were there
                end_children(psutil.Process(process.pid))
                done += 1
            process.kill()
            process.wait()
        run([*grid, "--now"], clone, QUICK, LIMIT)
        return len(points(clone)), done


@contextmanager
def prepared_clone() -> Iterator[Path]:
    """Yield a clone with little data after `dvc repro`, in which two workers train."""
    preset = ["drawn", "data.split.train=16", "data.split.val=4", "data.split.test=4", "tune.workers=2", "device=cpu"]
    with fresh_clone() as clone:
        run(["-m", "stages", "preset", *preset], clone, QUICK)
        run(["-m", "dvc", "repro"], clone, QUICK)
        subprocess.run(["git", "commit", "-qam", "Prepare the data"], cwd=clone, env=environment(), check=True)
        yield clone


def points(clone: Path) -> set[str]:
    """Return the names of the experiments of a clone."""
    refs = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/exps"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    )
    return {ref.rpartition("/")[2] for ref in refs.stdout.split() if "/lr0-" in ref}


if __name__ == "__main__":
    failures.run(main)
