"""Compare the time of train() with a bare YOLO(...).train(...) that has the same arguments.

    python -m benchmarks.train [--epochs 4] [--pairs 3]

Both train in turn on the CPU, each in its own process, on the data of params.yaml, with the arguments of params.yaml.
The bare training has Ultralytics' integrations switched off too, and writes no plots. The benchmark prints the seconds
and the ratio of each pair. The goal is a median ratio of 1.05 at most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stages.base.paths import main_root
from stages.data.preparation import prepare
from stages.params import file as params_file

OURS = """
from pathlib import Path
from stages.detector.training import train
train({arguments!r}, Path({data!r}), Path({out!r}))
"""

BARE = """
from ultralytics import YOLO
YOLO({model!r}).train(data={data!r}, project={out!r}, plots=False, verbose=False, **{arguments!r})
"""


def seconds(code: str, home: Path) -> float:
    """Return the wall time of a Python process that runs `code`, with Ultralytics' settings in the folder `home`."""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(home), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    params = params_file.load()
    arguments: dict[str, Any] = {**params.training(), "epochs": options.epochs, "device": "cpu"}
    cache = main_root() / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        work = Path(folder)
        prepare(params.data, work / "data")
        home = main_root() / ".yolo"
        ours = OURS.format(arguments=arguments, data=str(work / "data"), out=str(work / "ours"))
        model = arguments.pop("model")
        del arguments["head"]  # this project's own argument, which Ultralytics refuses
        data = str(work / "data" / "data.yaml")
        bare = BARE.format(model=model, arguments=arguments, data=data, out=str(work / "bare"))
        ratios = []
        for pair in range(options.pairs):
            first, second = seconds(ours, home), seconds(bare, home)
            ratios.append(first / second)
            print(f"pair {pair + 1}: train() {first:.1f} s, bare {second:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio of time over {options.pairs} pairs: {statistics.median(ratios):.3f} (goal: 1.05 at most)")


if __name__ == "__main__":
    main()
