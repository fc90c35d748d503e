"""Throughput of prepare() beside the bare loop of OpenCV: read, decode, reduce, encode, write.

    python -m benchmarks.prepare [--images 10000] [--pairs 3]

Both reduce the same 640x480 JPEG files to 320 pixels, with one process a core. Each run is a process of its own; the
two run in turn. Printed: images a second, from the call to the last file; the ratio pair by pair; and the
largest memory of any process. Wants 0.9 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from stages.base.paths import main_root
from stages.data.preparation import prepare
from stages.data.samples import JPEG_QUALITY, encode
from stages.data.sources import synthetic
from stages.params import file as params_file
from stages.params.schema import Data

LONGEST = 320
DISTINCT = 100  # drawn pictures; the others are copies of them


def make_folder(folder: Path, images: int) -> None:
    """A folder in YOLO's layout with JPEG files of 640x480 pixels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    drawn = [encode(synthetic.draw(random.Random(number), 640)[0][80:560]) for number in range(DISTINCT)]
    for number in range(images):
        (folder / "images" / f"{number:06d}.jpg").write_bytes(drawn[number % DISTINCT])
        (folder / "labels" / f"{number:06d}.txt").write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")


def bare(folder: Path, out: Path) -> None:
    """What OpenCV alone does with the images, in one process a core."""
    images = sorted((folder / "images").iterdir())
    out.mkdir()
    spawn = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for _ in pool.map(partial(_bare_one, out=out), images, chunksize=64):
            pass


def _bare_one(image: Path, out: Path) -> None:
    pixels = cv2.imdecode(np.fromfile(image, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    scale = LONGEST / max(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    cv2.imencode(".jpg", reduced, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tofile(out / image.name)


def ours(folder: Path, out: Path) -> None:
    """The stage's function, with its checks, labels, digest and summary."""
    given = params_file.read(params_file.PARAMS)["data"]
    prepare(Data.model_validate({**given, "source": "yolo", "path": str(folder), "imgsz": LONGEST}), out)


def run_side(side: str, folder: Path) -> None:
    """One measured run; prints seconds and the largest memory of the parent and of a worker, in MB."""
    out = folder.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    (ours if side == "ours" else bare)(folder, out)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    print(json.dumps({"seconds": seconds, "memory": _memory()}))


def _memory() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1024 if sys.platform == "linux" else 1024**2
    return max(resource.getrusage(each).ru_maxrss for each in who) / unit


def measure(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.prepare", "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        run_side(asked.side, asked.folder)
        return
    kept = main_root() / ".cache"
    kept.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as work:
        folder = Path(work) / "source"
        make_folder(folder, asked.images)
        measure("bare", folder)  # warms the files
        ratios = []
        for pair in range(asked.pairs):
            first, second = measure("ours", folder), measure("bare", folder)
            ratios.append(second["seconds"] / first["seconds"])
            print(
                f"pair {pair + 1}: prepare {asked.images / first['seconds']:.0f} images/s, {first['memory']:.0f} MB;  "
                f"bare loop {asked.images / second['seconds']:.0f} images/s, {second['memory']:.0f} MB;  "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"median ratio of throughput over {asked.pairs} pairs: {statistics.median(ratios):.3f} (0.9 is wanted)")


if __name__ == "__main__":
    main()
