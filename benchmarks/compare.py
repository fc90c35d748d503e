"""Measure `python -m stages compare` with many experiments.

    python -m benchmarks.compare [--experiments 500] [--repeats 3]

The benchmark runs in a fresh clone of this repository. Each experiment is a child of the last commit, with another
params.yaml and other metrics. Every second one is a trial: it has no test metrics, and DVC does not keep it in its
cache of experiments. The benchmark prints the seconds of whole processes. The first fills that cache; the goal is 15 s
at most. For the next ones the goal is 2 s at most.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from pathlib import Path

from benchmarks.common import at_least_one, fresh_clone, seconds
from stages.base import failures
from stages.base.git import git
from stages.experiments.names import trial_name
from stages.params.file import with_values


def save_experiments(clone: Path, count: int) -> None:
    """Write experiments as DVC does, all of them with one git process."""
    base = git("rev-parse", "HEAD", root=clone)
    params = (clone / "params.yaml").read_text(encoding="utf-8")
    rng = random.Random(0)
    lines: list[str] = []
    for number in range(count):
        trial = number % 2 == 0
        name = trial_name("tune-0a1b2c", number) if trial else f"point-{number}"
        metrics = json.dumps({"mAP50": rng.random(), "mAP50-95": rng.random() / 2, "train_seconds": 60 * rng.random()})
        values = {"epochs": 2 + number % 4, "lr0": round(rng.uniform(0.0005, 0.005), 6)}
        lines += [
            f"commit refs/exps/{base[:2]}/{base[2:]}/{name}",
            f"committer benchmark <> {1_700_000_000 + number} +0000",
        ]
        lines += ["data 0", f"from {base}", *_file("params.yaml", with_values(params, values))]
        lines += _file("reports/train/metrics.json", metrics)
        lines += ["D reports/evaluate/metrics.json"] if trial else _file("reports/evaluate/metrics.json", metrics)
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=clone, input="\n".join([*lines, "done\n"]).encode(), check=True)


def _file(path: str, content: str) -> list[str]:
    return [f"M 100644 inline {path}", f"data {len(content.encode())}", content]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=at_least_one, default=500)
    parser.add_argument("--repeats", type=at_least_one, default=3)
    options = parser.parse_args()
    with fresh_clone() as clone:
        save_experiments(clone, options.experiments)
        count, command = options.experiments, ["-m", "stages", "compare"]
        print(f"{count} experiments: {seconds(command, clone):.2f} s the first time (goal: 15 at most)", flush=True)
        for _ in range(options.repeats):
            print(f"{count} experiments: {seconds(command, clone):.2f} s again (goal: 2 at most)", flush=True)


if __name__ == "__main__":
    failures.run(main)
