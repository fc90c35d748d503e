"""The tables and the metrics of an evaluation as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.base.tables import write_table
from stages.data.boxes import SIZES
from stages.detector.average_precision import Accuracy
from stages.detector.calibration import Bin, calibration_error
from stages.detector.errors import BOTH, CLASS, KINDS, ImageErrors
from stages.detector.operating_point import OperatingPoint

_OF_SEVERAL_CLASSES = (CLASS, BOTH)  # kinds of errors that a model of one class cannot make


def flat_metrics(
    tested: OperatingPoint, rows: Sequence[Accuracy], lost: Mapping[str, float], bins: Sequence[Bin], classes: int
) -> dict[str, float]:
    """Return the metrics of the report that every run shows beside mAP50. The tables have the rest.

    Args:
        tested: The operating point on the test split.
        rows: AP by class and size.
        lost: Points of mAP50 by kind of error.
        bins: The calibration of confidence.
        classes: The number of classes.

    Returns:
        threshold, precision_at_threshold and recall_at_threshold (0 to 1); mAP50_small, mAP50_medium and mAP50_large
        (0 to 1), if there are such objects; lost_missed and so on (points of mAP50, 0 to 100), without those of several
        classes if there is one class; calibration_error (0 to 1), if there is a prediction to measure.
    """
    metrics: dict[str, float | None] = {
        "threshold": tested.threshold,
        "precision_at_threshold": tested.precision,
        "recall_at_threshold": tested.recall,
    }
    metrics |= {f"mAP50_{row.size}": row.ap50 for row in rows if row.label is None and row.size != "all"}
    metrics |= {f"lost_{kind}": value for kind, value in lost.items() if classes > 1 or kind not in _OF_SEVERAL_CLASSES}
    metrics["calibration_error"] = calibration_error(bins)
    return {name: round(value, 5) for name, value in metrics.items() if value is not None}


def curve_table(recalls: NDArray[np.float64], precisions: NDArray[np.float64]) -> str:
    """Return the precision-recall curve, the mean over the classes, as tab-separated values."""
    rows = zip(recalls, precisions.mean(axis=0), strict=True)
    return "recall\tprecision\n" + "".join(f"{recall:.2f}\t{precision:.5f}\n" for recall, precision in rows)


def confusion_table(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return comma-separated values with a row for each object and each false alarm: its actual and predicted class."""
    names = [*classes, "background"]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for (predicted, actual), count in np.ndenumerate(confusion):
        writer.writerows([[names[actual], names[predicted]]] * count)
    return table.getvalue()


def accuracy_table(rows: Sequence[Accuracy], classes: Sequence[str]) -> str:
    """Return AP by class and size as comma-separated values.

    Columns: class (`all` is the mean over the classes); size; min_area and max_area (square pixels of the image as
    evaluated; empty without a bound); objects; AP50 and AP50-95 (0 to 1; empty without an object).
    """
    columns = ("class", "size", "min_area", "max_area", "objects", "AP50", "AP50-95")
    lines = []
    for row in sorted(rows, key=lambda row: -1 if row.label is None else row.label):
        low, high = SIZES[row.size]
        bounds = int(low) or None, int(high) if np.isfinite(high) else None
        values = [None if value is None else round(value, 5) for value in (row.ap50, row.ap50_95)]
        lines.append(["all" if row.label is None else classes[row.label], row.size, *bounds, row.objects, *values])
    return write_table(columns, lines)


def errors_table(lost: Mapping[str, float], errors: Sequence[ImageErrors]) -> str:
    """Return the errors as comma-separated values.

    Columns: kind; lost_points (points of mAP50, 0 to 100, with the predictions of all confidences); at_threshold (the
    number of errors at the operating point).

    Args:
        lost: Points of mAP50 by kind of error.
        errors: The errors in each image at the operating point.
    """
    rows = [[kind, round(lost[kind], 3), sum(error.count(kind) for error in errors)] for kind in KINDS]
    return write_table(("kind", "lost_points", "at_threshold"), rows)


def calibration_table(bins: Sequence[Bin]) -> str:
    """Return the calibration as comma-separated values.

    Columns: confidence (mean of a range, 0 to 1); correct (share of correct predictions, 0 to 1); calibrated (the value
    that `correct` should have: the confidence); predictions (their number).
    """
    rows = [
        [*(round(value, 5) for value in (part.confidence, part.correct, part.confidence)), part.count] for part in bins
    ]
    return write_table(("confidence", "correct", "calibrated", "predictions"), rows)
