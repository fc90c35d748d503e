"""Measure the costs of a trained model: the time for one image, and the size of its file."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from stages.base.files import write_atomic
from stages.data.images import image_files, read_image
from stages.detector.operating_point import DEFAULT
from stages.detector.ultralytics import YOLO

WARM_UP = 3  # first predictions, which are not timed
TIMED = 20  # validation images that are timed after a training: a trial must not wait for more


def milliseconds(yolo: YOLO, images: Sequence[Path], imgsz: int, device: int | str | None, confidence: float) -> float:
    """Return the median time of a prediction in milliseconds, from the pixels of an image to its boxes.

    Args:
        yolo: The model.
        images: At least one image. They are predicted one at a time, after a warm-up.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        confidence: The least confidence of a prediction.
    """
    times: list[float] = []
    first = read_image(images[0])
    for _ in range(WARM_UP):
        yolo.predict(first, imgsz=imgsz, conf=confidence, device=device, verbose=False)
    for path in images:
        pixels = read_image(path)
        begun = time.perf_counter()
        yolo.predict(pixels, imgsz=imgsz, conf=confidence, device=device, verbose=False)[0].boxes.cpu()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def add_cost(model: Path, data: Path, imgsz: int, device: int | str | None, report: Path) -> dict[str, float]:
    """Measure the costs of a trained model, and add them to the metrics of its training.

    Args:
        model: The weights.
        data: A prepared data set. Images of its validation split are timed.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        report: The folder of the metrics.json of the training.

    Returns:
        ms_per_image (milliseconds) and model_mb (megabytes of a million bytes).
    """
    images = image_files(data / "images" / "val")[:TIMED]
    speed = milliseconds(YOLO(str(model)), images, imgsz, device, DEFAULT)
    cost = {"ms_per_image": round(speed, 2), "model_mb": round(model.stat().st_size / 1e6, 2)}
    path = report / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    write_atomic(path, json.dumps({**metrics, **cost}, indent=4) + "\n")
    return cost
