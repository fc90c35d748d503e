"""Stage prepare: pictures from a source become a YOLO data set with three splits.

    python -m stages.prepare

Reads `data` of params.yaml; writes data/prepared (images, labels, data.yaml, summary.json) and reports/data (a sheet of
labelled samples, and the summary again where git keeps it).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.processes import end_with_parent
from stages.data.images import image_files, read_image
from stages.data.labels import prepared_boxes
from stages.data.samples import SPLITS, BadSample, Box, Collection, Item, Pixels, Problem, encode
from stages.data.sources import collect, longest_side
from stages.params.schema import Data

SAMPLES = 16  # pictures on the sheet
LISTED = 1000  # skipped files that the summary names; all of them are counted
LEAST_SIDE = 10  # pixels; Ultralytics leaves out smaller images and says little
BATCH = 64  # pictures that a process is given at a time


@dataclass(frozen=True)
class Written:
    """One picture of the prepared data: its file, the class of each box, and a digest of what it was made from."""

    split: str
    name: str
    labels: tuple[int, ...]
    digest: str


def prepare(data: Data, out: Path, workers: int | None = None) -> dict[str, Any]:
    """Make the data set in the folder `out`, replacing it as a whole.

    Pictures are read, checked, reduced and written by parallel processes; those that need no change are copied byte by
    byte. (Not hard-linked: where DVC's cache is linked too, the cache would then share the user's own files and write-
    protect them.)

    Args:
        data: What to prepare.
        out: A folder for images/, labels/, data.yaml and summary.json. It holds the old data until the new is whole.
        workers: Processes; None is one a core. The result is the same with any number.

    Returns:
        The content of summary.json: images and boxes of each split, what was skipped or left out and why, and `digest`,
        which is the same wherever the same data is prepared.

    Raises:
        Failure: The source cannot be had; files are unusable and `data.on_error` is `stop`; or a split is left empty.
    """
    partial_out = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial_out, ignore_errors=True)
    collection = collect(data)
    if not collection.items and not collection.problems:
        raise Failure(f"no picture in the data shows any of data.classes: {', '.join(data.classes)}")
    for kind in ("images", "labels"):
        for split in SPLITS:
            (partial_out / kind / split).mkdir(parents=True)
    try:
        summary = _write_all(data, collection, partial_out, workers)
        _replace_folder(partial_out, out)
    finally:
        shutil.rmtree(partial_out, ignore_errors=True)
    return summary


def _write_all(data: Data, collection: Collection, out: Path, workers: int | None) -> dict[str, Any]:
    write = partial(_write_batch, out=out, longest=longest_side(data))
    splits: dict[str, dict[str, int]] = {split: {"images": 0, "boxes": 0} for split in SPLITS}
    classes = {split: dict.fromkeys(data.classes, 0) for split in SPLITS}
    problems = list(collection.problems)
    digest = hashlib.sha256(json.dumps([list(data.classes), longest_side(data)]).encode())
    items = sorted(collection.items, key=lambda item: (item.split, item.name))
    with tqdm(total=len(items), desc="prepare", unit="image", disable=None) as bar:
        batches = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
        for result in _in_processes(write, batches, workers or min(os.cpu_count() or 1, 61)):  # Windows' most
            bar.update(len(result))
            for picture in result:
                if isinstance(picture, Problem):
                    problems.append(picture)
                    continue
                splits[picture.split]["images"] += 1
                splits[picture.split]["boxes"] += len(picture.labels)
                for label in picture.labels:
                    classes[picture.split][data.classes[label]] += 1
                digest.update(f"{picture.split}/{picture.name} {picture.digest}\n".encode())
    _judge(data, problems, classes)
    summary = {
        "source": data.source,
        "digest": digest.hexdigest(),
        "classes": list(data.classes),
        "longest_side": longest_side(data),
        "splits": {split: {**counts, "by_class": classes[split]} for split, counts in splits.items()},
        "left_out": dict(sorted(collection.counts.items())),
        "skipped": {"count": len(problems), "files": {p.file: p.reason for p in problems[:LISTED]}},
    }
    names = dict(enumerate(data.classes))
    layout = {split: f"images/{split}" for split in SPLITS}
    write_atomic(out / "data.yaml", yaml.safe_dump({**layout, "names": names}, sort_keys=False, allow_unicode=True))
    write_atomic(out / "summary.json", _json(summary))
    return summary


def _judge(data: Data, problems: list[Problem], classes: dict[str, dict[str, int]]) -> None:
    """Stop where files were unusable and that was not allowed, or where nothing is left to train or to measure on."""
    if problems and data.on_error == "stop":
        named = "; ".join(f"{problem.file}: {problem.reason}" for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Failure(f"{named}{more}. Mend the data, or set data.on_error: skip to go on without them")
    for split, counts in classes.items():
        lacking = [name for name, count in counts.items() if not count]
        if lacking:
            raise Failure(
                f"split {split} has no box of {' and none of '.join(lacking)}; take more pictures or other splits"
            )


def _write_batch(items: Sequence[Item], out: Path, longest: int | None) -> list[Written | Problem]:
    return [_write(item, out, longest) for item in items]


def _write(item: Item, out: Path, longest: int | None) -> Written | Problem:
    """Write one picture and its labels; runs in a process of its own."""
    try:
        picture = item.read(longest)
        encoded, suffix = picture.encoded, picture.suffix
        pixels = _reduced(picture.pixels, longest) if longest else picture.pixels
        if min(pixels.shape[:2]) < LEAST_SIDE:
            raise BadSample(
                f"is {pixels.shape[1]}x{pixels.shape[0]} pixels; the trainer takes no side under {LEAST_SIDE}"
            )
        if picture.reduced or pixels is not picture.pixels:
            encoded, suffix = encode(pixels), ".jpg"
    except BadSample as bad:
        return Problem(item.origin, str(bad))
    labels = "".join(_label(box) for box in picture.boxes)
    (out / "images" / item.split / f"{item.name}{suffix}").write_bytes(encoded)
    (out / "labels" / item.split / f"{item.name}.txt").write_text(labels, encoding="utf-8", newline="\n")
    made_from = hashlib.sha256(picture.encoded)
    made_from.update(labels.encode())
    return Written(item.split, item.name, tuple(box[0] for box in picture.boxes), made_from.hexdigest())


def _reduced(pixels: Pixels, longest: int) -> Pixels:
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _label(box: Box) -> str:
    label, x, y, width, height = box
    return f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def _in_processes(
    work: Callable[[Sequence[Item]], list[Written | Problem]], batches: Iterable[Sequence[Item]], workers: int
) -> Iterator[list[Written | Problem]]:
    """Yield the results in order. Few batches are under way at a time, so memory does not grow with their number."""
    under_way: deque[Future[list[Written | Problem]]] = deque()
    spawn = get_context("spawn")  # the same on every platform; a fork would copy the progress bar's thread
    with ProcessPoolExecutor(workers, spawn, initializer=_begin_process) as pool:
        try:
            for batch in batches:
                under_way.append(pool.submit(work, batch))
                if len(under_way) >= 4 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise Failure("a process that prepares pictures was ended from outside (out of memory?)") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """One thread a process, and none of them outlives a kill of this one."""
    cv2.setNumThreads(1)
    end_with_parent()


def _replace_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`. A kill in between leaves no target, never a mixture."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def samples(data: Path, count: int = SAMPLES) -> list[tuple[Pixels, tuple[Box, ...]]]:
    """The first training pictures of a prepared data set, with their boxes."""
    images = image_files(data / "images" / "train")[:count]
    return [(read_image(image), prepared_boxes(image)) for image in images]
