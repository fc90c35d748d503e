"""Evaluate a model: its accuracy and speed on one split of a prepared data set, and the report of that."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base.files import write_atomic
from stages.data.contact_sheet import COLOURS, grid, tile
from stages.data.images import image_files, read_image
from stages.data.labels import prepared_boxes
from stages.data.samples import Box, Pixels
from stages.detector.ultralytics import YOLO, DetectionValidator

CONFIDENCE = 0.25  # least confidence of a prediction: Ultralytics' own default for predicting
TIMED = 64  # most images that are timed, one at a time
WARM_UP = 3  # first predictions, which are not timed
SHOWN = 8  # images on the sheet
RECALLS = 101  # points of the curve

PREDICTED, TRUTH = COLOURS[:2]


Shown = tuple[Pixels, Sequence[Box], Sequence[tuple[Box, float]]]
"""An image, its true boxes, and the predicted boxes with their confidences (0 to 1)."""


@dataclass(frozen=True)
class Evaluation:
    """The accuracy and the speed of a model.

    Attributes:
        metrics: mAP50, mAP50-95, precision and recall (0 to 1, means over the classes; precision and recall at the
            confidence with the greatest F1), and ms_per_image (milliseconds from the pixels of an image to its boxes,
            the median after a warm-up).
        curve: The recalls, of shape (101,), and the precision of each class at each recall, of shape (classes, 101),
            all 0 to 1, at IoU 0.5.
        confusion: The number of objects of each class (column) that were predicted as each class (row), at confidence
            0.25 and IoU 0.45. The last row and column are the background. Integers of shape (classes + 1, classes + 1).
        shown: The first images of the split.
    """

    metrics: dict[str, float]
    curve: tuple[NDArray[np.float64], NDArray[np.float64]]
    confusion: NDArray[np.int64]
    shown: list[Shown]


class _Validator(DetectionValidator):
    """Ultralytics' validator, which here counts confusions also if it draws no plots."""

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        super().update_metrics(preds, batch)
        for number, prediction in enumerate(preds):
            truth = self._prepare_batch(number, batch)
            self.confusion_matrix.process_batch(self._prepare_pred(prediction), truth, conf=CONFIDENCE)


def evaluate(
    model: Path, data: Path, work: Path, imgsz: int, device: int | str | None, split: str = "test"
) -> Evaluation:
    """Measure a model on one split of a prepared data set.

    Args:
        model: The weights.
        data: A folder with data.yaml.
        work: A folder for Ultralytics' files.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        split: train, val or test.
    """
    yolo = YOLO(str(model))
    result = yolo.val(
        validator=_Validator,
        data=str((data / "data.yaml").resolve()),
        split=split,
        imgsz=imgsz,
        device=device,
        plots=False,
        verbose=False,
        project=str(work.resolve()),
        name="val",
        exist_ok=True,
    )
    box = result.box
    recalls = np.linspace(0, 1, RECALLS)
    precisions = np.array([np.interp(recalls, box.px, precision) for precision in box.prec_values])
    images = image_files(data / "images" / split)[: max(TIMED, SHOWN)]
    shown, times = _predict(yolo, images, imgsz, device)
    metrics = {
        "mAP50": box.map50,
        "mAP50-95": box.map,
        "precision": box.mp,
        "recall": box.mr,
        "ms_per_image": statistics.median(times),
    }
    return Evaluation(
        {name: round(float(value), 5 if name != "ms_per_image" else 2) for name, value in metrics.items()},
        (recalls, precisions),
        result.confusion_matrix.matrix.astype(np.int64),
        shown,
    )


def _predict(
    yolo: YOLO, images: Sequence[Path], imgsz: int, device: int | str | None
) -> tuple[list[Shown], list[float]]:
    """Predict images one at a time. Return the first few with their boxes, and the milliseconds of all."""
    shown: list[Shown] = []
    times: list[float] = []
    first = read_image(images[0])
    for _ in range(WARM_UP):
        yolo.predict(first, imgsz=imgsz, conf=CONFIDENCE, device=device, verbose=False)
    for path in images:
        pixels = read_image(path)
        begun = time.perf_counter()
        boxes = yolo.predict(pixels, imgsz=imgsz, conf=CONFIDENCE, device=device, verbose=False)[0].boxes.cpu()
        times.append((time.perf_counter() - begun) * 1000)
        if len(shown) < SHOWN:
            columns = (boxes.cls.tolist(), boxes.xywhn.tolist(), boxes.conf.tolist())
            predicted = [((int(label), *box), confidence) for label, box, confidence in zip(*columns, strict=True)]
            shown.append((pixels, prepared_boxes(path), predicted))
    return shown, times


def curve_table(evaluation: Evaluation) -> str:
    """Return the precision-recall curve, the mean over the classes, as tab-separated values."""
    recalls, precisions = evaluation.curve
    rows = zip(recalls, precisions.mean(axis=0), strict=True)
    return "recall\tprecision\n" + "".join(f"{recall:.2f}\t{precision:.5f}\n" for recall, precision in rows)


def confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """Return comma-separated values with a row for each object and each false alarm: its actual and predicted class."""
    names = [*classes, "background"]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for (predicted, actual), count in np.ndenumerate(evaluation.confusion):
        writer.writerows([[names[actual], names[predicted]]] * count)
    return table.getvalue()


def picture(evaluation: Evaluation) -> bytes:
    """Return a sheet as PNG with each image twice: with its true boxes, and with the predicted ones."""
    tiles = []
    for pixels, truth, predicted in evaluation.shown:
        tiles.append(tile(pixels, [(box, TRUTH, "") for box in truth], "truth"))
        tiles.append(
            tile(
                pixels,
                [(box, PREDICTED, f"{confidence:.2f}") for box, confidence in predicted],
                f"predicted, from {CONFIDENCE}",
            )
        )
    return grid(tiles)


def evaluate_with_report(
    model: Path, data: Path, imgsz: int, device: int | str | None, classes: Sequence[str], report: Path
) -> Evaluation:
    """Measure a model on the test split, as `evaluate` does, and write its report.

    Args:
        model: The weights. A temporary folder beside them holds Ultralytics' files.
        data: A folder with data.yaml.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        classes: The names of the classes.
        report: A folder for metrics.json and plots/: the precision-recall curve, the confusion of classes, and a sheet
            of predicted beside true boxes.
    """
    work = model.parent / ".evaluate"
    try:
        result = evaluate(model, data, work, imgsz, device)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    plots = report / "plots"
    write_atomic(plots / "precision_recall.tsv", curve_table(result))
    write_atomic(plots / "confusion.csv", confusion_table(result, classes))
    write_atomic(plots / "predictions.png", picture(result))
    write_atomic(report / "metrics.json", json.dumps(result.metrics, indent=2) + "\n")
    return result
