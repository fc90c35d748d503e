"""Evaluate a model: its accuracy and speed on one split of a prepared data set, and the report of that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base.files import write_atomic
from stages.data.images import image_files
from stages.detector import evaluation_tables as tables
from stages.detector.average_precision import RECALLS, accuracies
from stages.detector.calibration import calibration
from stages.detector.cost import milliseconds
from stages.detector.errors import image_errors, lost_points
from stages.detector.matches import ImageMatches, matches_table
from stages.detector.operating_point import DEFAULT, at_threshold, choose
from stages.detector.predictions import ImagePredictions, image_predictions
from stages.detector.sheets import prediction_sheet, worst_sheet
from stages.detector.ultralytics import YOLO, DetectionValidator
from stages.params.schema import Threshold

TIMED = 64  # most images that are timed, one at a time


@dataclass(frozen=True)
class Evaluation:
    """The accuracy and the speed of a model.

    Attributes:
        metrics: mAP50, mAP50-95, precision and recall (0 to 1, means over the classes; precision and recall at the
            confidence with the greatest F1), and ms_per_image (milliseconds from the pixels of an image to its boxes,
            the median after a warm-up). `evaluate_with_report` adds more.
        curve: The recalls, of shape (101,), and the precision of each class at each recall, of shape (classes, 101),
            all 0 to 1, at IoU 0.5.
        confusion: The number of objects of each class (column) that were predicted as each class (row), at IoU 0.45.
            The last row and column are the background. Integers of shape (classes + 1, classes + 1).
        images: The predictions for each image of the split, in Ultralytics' order.
        matches: Which of them Ultralytics counts as correct, in the same order.
        warning: A sentence if no threshold reaches what `evaluate.threshold` asks for; else empty.
    """

    metrics: dict[str, float]
    curve: tuple[NDArray[np.float64], NDArray[np.float64]]
    confusion: NDArray[np.int64]
    images: list[ImagePredictions]
    matches: list[ImageMatches]
    warning: str = field(default="", kw_only=True)


class _Validator(DetectionValidator):
    """Ultralytics' validator, which here keeps the predictions, and counts confusions also if it draws no plots."""

    def __init__(
        self, images: list[ImagePredictions], matches: list[ImageMatches], confidence: float, **arguments: Any
    ) -> None:
        """Prepare a validation.

        Args:
            images: A list that gets the predictions for each image.
            matches: A list that gets what Ultralytics counts as correct in each image.
            confidence: The least confidence of a prediction that is counted as a confusion.
            arguments: Those of Ultralytics.
        """
        super().__init__(**arguments)
        self._images, self._matches, self._confidence = images, matches, confidence

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        super().update_metrics(preds, batch)
        matched = self.metrics.stats["tp"][-len(preds) :]  # of each image, at ten IoUs from 0.5
        for number, prediction in enumerate(preds):
            truth, predicted = self._prepare_batch(number, batch), self._prepare_pred(prediction)
            self.confusion_matrix.process_batch(predicted, truth, conf=self._confidence)
            (gain_y, gain_x), (left, top) = truth["ratio_pad"]
            height, width = truth["ori_shape"]
            without_border = np.array([left, top, left, top])
            boxes, classes, confidences = (predicted[key].cpu().numpy() for key in ("bboxes", "cls", "conf"))
            true_boxes, true_classes = (truth[key].cpu().numpy() for key in ("bboxes", "cls"))
            path = Path(truth["im_file"])
            labels = true_classes.astype(np.int64), classes.astype(np.int64)
            self._matches.append(ImageMatches(path.name, *labels, confidences, matched[number][:, 0].astype(bool)))
            self._images.append(
                image_predictions(
                    path,
                    (width * gain_x, height * gain_y),
                    (true_boxes.reshape(-1, 4) - without_border, true_classes),
                    (boxes - without_border, classes, confidences),
                )
            )


def evaluate(
    model: Path,
    data: Path,
    work: Path,
    imgsz: int,
    device: int | str | None,
    split: str = "test",
    confidence: float = DEFAULT,
) -> Evaluation:
    """Measure a model on one split of a prepared data set.

    Args:
        model: The weights.
        data: A folder with data.yaml.
        work: A folder for Ultralytics' files.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        split: train, val or test.
        confidence: The least confidence of a prediction that is timed or counted as a confusion.
    """
    yolo = YOLO(str(model))
    result, images, matches = _validate(yolo, data, work, imgsz, device, split, confidence)
    timed = image_files(data / "images" / split)[:TIMED]
    return _evaluation(result, images, matches, milliseconds(yolo, timed, imgsz, device, confidence))


def _validate(
    yolo: YOLO, data: Path, work: Path, imgsz: int, device: int | str | None, split: str, confidence: float = DEFAULT
) -> tuple[Any, list[ImagePredictions], list[ImageMatches]]:
    """Return Ultralytics' results for a split, the predictions for each image, and which of them are correct."""
    images: list[ImagePredictions] = []
    matches: list[ImageMatches] = []
    result = yolo.val(
        validator=partial(_Validator, images, matches, confidence),
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
    return result, images, matches


def _evaluation(result: Any, images: list[ImagePredictions], matches: list[ImageMatches], speed: float) -> Evaluation:
    box = result.box
    precisions = np.array([np.interp(RECALLS, box.px, precision) for precision in box.prec_values])
    metrics = {"mAP50": box.map50, "mAP50-95": box.map, "precision": box.mp, "recall": box.mr}
    return Evaluation(
        {name: round(float(value), 5) for name, value in metrics.items()} | {"ms_per_image": round(speed, 2)},
        (RECALLS, precisions),
        result.confusion_matrix.matrix.astype(np.int64),
        images,
        matches,
    )


def evaluate_with_report(
    model: Path,
    data: Path,
    imgsz: int,
    device: int | str | None,
    classes: Sequence[str],
    rule: Threshold,
    report: Path,
) -> Evaluation:
    """Measure a model on the test split, as `evaluate` does, and write its report.

    The operating point is chosen on the validation split. All else is measured on the test split.

    Args:
        model: The weights. A temporary folder beside them holds Ultralytics' files.
        data: A folder with data.yaml.
        imgsz: The pixels of the longest side of an image for the model.
        device: As in params.yaml.
        classes: The names of the classes.
        rule: `evaluate.threshold` of params.yaml.
        report: A folder for metrics.json, accuracy.csv (AP by class and size), matches.csv (the predictions of each
            image) and plots/: the precision-recall curve, the confusion of classes, the errors by kind, the calibration
            of confidence, a sheet of predicted beside true boxes, and a sheet of the worst images.
    """
    work = model.parent / ".evaluate"
    try:
        yolo = YOLO(str(model))
        point = choose(_validate(yolo, data, work, imgsz, device, "val")[1], rule)
        result, images, matches = _validate(yolo, data, work, imgsz, device, "test", point.threshold)
        timed = image_files(data / "images" / "test")[:TIMED]
        speed = milliseconds(yolo, timed, imgsz, device, point.threshold)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    evaluation = _evaluation(result, images, matches, speed)
    rows, bins = accuracies(images, len(classes)), calibration(images)
    lost = lost_points(images, [image_errors(image) for image in images])
    in_use = [image_errors(image.above(point.threshold)) for image in images]
    tested = at_threshold(images, point.threshold)
    metrics = evaluation.metrics | tables.flat_metrics(tested, rows, lost, bins, len(classes))
    files: dict[str, str | bytes] = {
        "accuracy.csv": tables.accuracy_table(rows, classes),
        "matches.csv": matches_table(matches, classes),
        "plots/precision_recall.tsv": tables.curve_table(*evaluation.curve),
        "plots/confusion.csv": tables.confusion_table(evaluation.confusion, classes),
        "plots/errors.csv": tables.errors_table(lost, in_use),
        "plots/calibration.csv": tables.calibration_table(bins),
        "plots/predictions.png": prediction_sheet(images, point.threshold),
        "plots/worst.png": worst_sheet(images, point.threshold, classes),
        "metrics.json": json.dumps(metrics, indent=2) + "\n",
    }
    for name, content in files.items():
        write_atomic(report / name, content)
    warning = point.missed_rule(rule)
    return Evaluation(metrics, evaluation.curve, evaluation.confusion, images, matches, warning=warning)
