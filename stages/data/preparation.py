"""Turn the pictures of a source into a YOLO data set with three splits."""

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
from stages.data.inspection import Inspection, inspect
from stages.data.labels import prepared_boxes, written_boxes
from stages.data.samples import SPLITS, BadSample, Box, Collection, Item, Pixels, Problem, encode, printable
from stages.data.sources import collect, longest_side
from stages.params.schema import Data

SAMPLES = 16  # pictures on the sheet
LISTED = 1000  # skipped files that the summary names; it counts all of them
LEAST_SIDE = 10  # pixels; Ultralytics skips smaller images almost in silence
BATCH = 64  # pictures that a process gets at a time


@dataclass(frozen=True)
class Written:
    """A picture of the prepared data.

    Attributes:
        split: train, val or test.
        name: The file name without suffix.
        suffix: The file's suffix, with its dot.
        labels: The class of each box.
        digest: SHA-256, in hexadecimal, of the original file and of the labels.
        inspection: What the data card needs to know of it.
    """

    split: str
    name: str
    suffix: str
    labels: tuple[int, ...]
    digest: str
    inspection: Inspection

    @property
    def file(self) -> str:
        """The path of the image in the folder of the data set."""
        return f"images/{self.split}/{self.name}{self.suffix}"


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        summary: The content of summary.json: images and boxes of each split, pictures that were skipped or left out and
            the reasons, and `digest`, which is the same on every machine for the same data.
        pictures: The pictures by split and name.
    """

    summary: dict[str, Any]
    pictures: list[Written]


def prepare(data: Data, out: Path, workers: int | None = None) -> Prepared:
    """Write the data set to the folder `out`, and replace the old one as a whole.

    Parallel processes read, check, reduce and write the pictures. A picture that needs no change is copied byte by
    byte. It is not hard-linked: if DVC's cache has links too, the cache would share the user's files and write-protect
    them.

    Args:
        data: The group `data` of params.yaml.
        out: A folder for images/, labels/, data.yaml and summary.json. It keeps the old data until the new is complete.
        workers: The number of processes; None is one per core. The result does not depend on it.

    Raises:
        Failure: The source cannot be used; a file cannot be used and `data.on_error` is `stop`; a class has no box in
            one of the splits; or a process was killed.
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
        prepared = _write_all(data, collection, partial_out, workers)
        _replace_folder(partial_out, out)
    finally:
        shutil.rmtree(partial_out, ignore_errors=True)
    return prepared


def _write_all(data: Data, collection: Collection, out: Path, workers: int | None) -> Prepared:
    """Write the data set to an empty folder."""
    write = partial(_write_batch, out=out, longest=longest_side(data))
    splits: dict[str, dict[str, int]] = {split: {"images": 0, "boxes": 0} for split in SPLITS}
    classes = {split: dict.fromkeys(data.classes, 0) for split in SPLITS}
    problems = list(collection.problems)
    pictures: list[Written] = []
    digest = hashlib.sha256(json.dumps([list(data.classes), longest_side(data)]).encode())
    items = sorted(collection.items, key=lambda item: (item.split, item.name))
    with tqdm(total=len(items), desc="prepare", unit="image", disable=None) as bar:
        batches = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
        for result in _in_processes(write, batches, workers or min(os.cpu_count() or 1, 61)):  # the maximum of Windows
            bar.update(len(result))
            for picture in result:
                if isinstance(picture, Problem):
                    problems.append(picture)
                    continue
                pictures.append(picture)
                splits[picture.split]["images"] += 1
                splits[picture.split]["boxes"] += len(picture.labels)
                for label in picture.labels:
                    classes[picture.split][data.classes[label]] += 1
                digest.update(f"{picture.split}/{picture.name} {picture.digest}\n".encode())
    _check(data, problems, classes)
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
    write_atomic(out / "summary.json", json_text(summary))
    return Prepared(summary, pictures)


def _check(data: Data, problems: list[Problem], classes: dict[str, dict[str, int]]) -> None:
    """Raise Failure if `data.on_error` is `stop` and there are problems, or if a class has no box in a split."""
    if problems and data.on_error == "stop":
        named = "; ".join(f"{problem.file}: {problem.reason}" for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Failure(f"{named}{more}. Correct the data, or set data.on_error: skip to leave these files out")
    for split, counts in classes.items():
        lacking = [name for name, count in counts.items() if not count]
        if lacking:
            raise Failure(
                f"split {split} has no box of {' and none of '.join(lacking)}; use more pictures or change data.split"
            )


def _write_batch(items: Sequence[Item], out: Path, longest: int | None) -> list[Written | Problem]:
    return [_write(item, out, longest) for item in items]


def _write(item: Item, out: Path, longest: int | None) -> Written | Problem:
    """Write one picture and its labels. It runs in a worker process."""
    try:
        if printable(item.origin) != item.origin:
            raise BadSample("its name is not UTF-8")
        picture = item.read(longest)
        encoded, suffix = picture.encoded, picture.suffix
        pixels = _reduced(picture.pixels, longest) if longest else picture.pixels
        if min(pixels.shape[:2]) < LEAST_SIDE:
            raise BadSample(
                f"is {pixels.shape[1]}x{pixels.shape[0]} pixels; the trainer needs at least {LEAST_SIDE} on each side"
            )
        if picture.reduced or pixels is not picture.pixels:
            encoded, suffix = encode(pixels), ".jpg"
    except BadSample as bad:
        return Problem(item.origin, str(bad))
    labels = "".join(_label(box) for box in picture.boxes)
    (out / "images" / item.split / f"{item.name}{suffix}").write_bytes(encoded)
    (out / "labels" / item.split / f"{item.name}.txt").write_text(labels, encoding="utf-8", newline="\n")
    digest = hashlib.sha256(picture.encoded)
    digest.update(labels.encode())
    inspection = inspect(pixels, written_boxes(labels))
    classes = tuple(box[0] for box in picture.boxes)
    return Written(item.split, item.name, suffix, classes, digest.hexdigest(), inspection)


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
    """Yield the results in order. The number of pending batches is limited, so memory does not grow with the data."""
    pending: deque[Future[list[Written | Problem]]] = deque()
    spawn = get_context("spawn")  # the same on every platform; a fork would copy the progress bar's thread
    with ProcessPoolExecutor(workers, spawn, initializer=_begin_process) as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(work, batch))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise Failure("a process that prepares pictures was killed, perhaps because memory ran out") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """Use one thread in this worker process, and end it when its parent is killed."""
    cv2.setNumThreads(1)
    end_with_parent()


def _replace_folder(new: Path, target: Path) -> None:
    """Move `new` to `target`. If the process is killed in between, there is no target, but never a mixture."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def json_text(content: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def samples(data: Path, count: int = SAMPLES) -> list[tuple[Pixels, tuple[Box, ...]]]:
    """Return the first training pictures of a prepared data set, with their boxes."""
    images = image_files(data / "images" / "train")[:count]
    return [(read_image(image), prepared_boxes(image)) for image in images]
