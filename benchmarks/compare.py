"""Time of `python -m stages compare` with many experiments: the first, which fills DVC's cache of them, and again.

    python -m benchmarks.compare [--experiments 500] [--repeats 3]

In a clone of this repository, each experiment is a commit beneath its last one with another params.yaml and other
metrics; every second one is a trial, which has no test metrics and which DVC itself never keeps in that cache. Printed:
seconds of whole processes. Wants 15 at most the first time, and 2 at most after it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import fresh_clone
from stages.base.git import git
from stages.experiments.names import trial_name
from stages.params.file import with_values


def save_experiments(clone: Path, count: int) -> None:
    """Write the refs of experiments, all with one git process."""
    base = git("rev-parse", "HEAD", root=clone)
    params = (clone / "params.yaml").read_text(encoding="utf-8")
    drawn = random.Random(0)
    lines: list[str] = []
    for number in range(count):
        trial = number % 2 == 0
        name = trial_name("tune-0a1b2c", number) if trial else f"point-{number}"
        metrics = json.dumps(
            {"mAP50": drawn.random(), "mAP50-95": drawn.random() / 2, "train_seconds": 60 * drawn.random()}
        )
        values = {"epochs": 2 + number % 4, "lr0": round(drawn.uniform(0.0005, 0.005), 6)}
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


def seconds(clone: Path) -> float:
    """Wall time of the command."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stages", "compare"], cwd=clone, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with fresh_clone() as clone:
        save_experiments(clone, asked.experiments)
        print(
            f"{asked.experiments} experiments: {seconds(clone):.2f} s the first time (15 at most is wanted)", flush=True
        )
        for _ in range(asked.repeats):
            print(f"{asked.experiments} experiments: {seconds(clone):.2f} s again (2 at most is wanted)", flush=True)


if __name__ == "__main__":
    main()
