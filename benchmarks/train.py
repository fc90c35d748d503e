"""Compare the time of train() with a bare YOLO(...).train(...) that has the same arguments.

    python -m benchmarks.train [--epochs 4] [--pairs 3]

Both train in turn on the CPU, each in its own process, on the data of params.yaml, with the arguments of params.yaml.
The bare training has Ultralytics' integrations switched off too, and writes no plots. The benchmark prints the seconds
and the ratio of each pair. The goal is a median ratio of 1.05 at most.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from benchmarks.common import at_least_one, bare_training, scratch, seconds
from stages.base import failures
from stages.base.paths import ROOT, main_root
from stages.data.preparation import prepare
from stages.params import file as params_file

OURS = """
from pathlib import Path
from stages.detector.training import train
train({arguments!r}, Path({data!r}), Path({out!r}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=at_least_one, default=4)
    parser.add_argument("--pairs", type=at_least_one, default=3)
    options = parser.parse_args()
    params = params_file.load()
    arguments: dict[str, Any] = {**params.training(), "epochs": options.epochs, "device": "cpu"}
    settings = {"YOLO_CONFIG_DIR": str(main_root() / ".yolo")}
    with scratch() as work:
        prepare(params.data, work / "data")
        ours = ["-c", OURS.format(arguments=arguments, data=str(work / "data"), out=str(work / "ours"))]
        bare = bare_training(arguments, work / "data", work / "bare")
        ratios = []
        for pair in range(options.pairs):
            first, second = seconds(ours, ROOT, settings), seconds(bare, ROOT, settings)
            ratios.append(first / second)
            print(f"pair {pair + 1}: train() {first:.1f} s, bare {second:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio of time over {options.pairs} pairs: {statistics.median(ratios):.3f} (goal: 1.05 at most)")


if __name__ == "__main__":
    failures.run(main)
