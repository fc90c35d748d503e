"""Compare the throughput of prepare() with a bare OpenCV loop: read, decode, reduce, encode, write.

    python -m benchmarks.prepare [--images 10000] [--pairs 3]

Both run in turn and reduce the same 640x480 JPEG files to 320 pixels, with one process per core. The benchmark prints
for each pair: the images per second, from the call to the last file; the largest memory of any process; and the ratio.
The goal is a median ratio of 0.9 at least.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import at_least_one, delivered, run, scratch
from stages.base import failures
from stages.base.paths import ROOT
from stages.data.drawing.scenes import draw
from stages.data.preparation import prepare
from stages.data.samples import JPEG_QUALITY, encode
from stages.params.schema import Data

LONGEST = 320
DISTINCT = 100  # drawn pictures; the others are copies of them


def make_folder(folder: Path, images: int) -> None:
    """Write a folder in YOLO's layout with JPEG files of 640x480 pixels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    drawn = [encode(draw(random.Random(number), 640)[0][80:560]) for number in range(DISTINCT)]
    for number in range(images):
        (folder / "images" / f"{number:06d}.jpg").write_bytes(drawn[number % DISTINCT])
        (folder / "labels" / f"{number:06d}.txt").write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")


def bare(folder: Path, out: Path) -> None:
    """Reduce the images with OpenCV alone, in one process per core."""
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
    """Reduce the images with prepare(), which also checks them and writes labels, a digest and a summary."""
    prepare(Data.model_validate({**delivered()["data"], "source": "yolo", "path": str(folder), "imgsz": LONGEST}), out)


def run_side(side: str, folder: Path) -> None:
    """Measure one run; print its seconds and the largest memory of this process and of a worker, in MiB."""
    out = folder.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    (ours if side == "ours" else bare)(folder, out)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    print(json.dumps({"seconds": seconds, "memory": _memory()}))


def _memory() -> float | None:
    if sys.platform == "win32":  # it has no module resource
        return None
    import resource

    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1024 if sys.platform == "linux" else 1024**2
    return max(resource.getrusage(each).ru_maxrss for each in who) / unit


def measure(side: str, folder: Path) -> tuple[float, str]:
    """Measure one run in a process of its own; return its seconds, and its largest memory in words."""
    output = run(["-m", "benchmarks.prepare", "--side", side, "--folder", str(folder)], ROOT)
    measured = json.loads(output.splitlines()[-1])
    memory = measured["memory"]
    return measured["seconds"], "memory unknown" if memory is None else f"{memory:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=at_least_one, default=10_000)
    parser.add_argument("--pairs", type=at_least_one, default=3)
    parser.add_argument("--side", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.folder)
        return
    with scratch() as work:
        folder = work / "source"
        make_folder(folder, options.images)
        measure("bare", folder)  # fills the system's file cache
        ratios = []
        for pair in range(options.pairs):
            (first, memory), (second, bare_memory) = measure("ours", folder), measure("bare", folder)
            ratios.append(second / first)
            print(
                f"pair {pair + 1}: prepare {options.images / first:.0f} images/s, {memory};  "
                f"bare loop {options.images / second:.0f} images/s, {bare_memory};  ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(
        f"median ratio of throughput over {options.pairs} pairs: {statistics.median(ratios):.3f} (goal: 0.9 at least)"
    )


if __name__ == "__main__":
    failures.run(main)
