"""In the place of stages/detector/evaluation.py: the test metrics of a quick training's model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base.files import write_atomic


@dataclass(frozen=True)
class Evaluation:
    metrics: dict[str, float]


def evaluate(
    model: Path, data: Path, work: Path, imgsz: int, device: int | str | None, split: str = "test"
) -> Evaluation:
    """0.01 below the validation split; with seeds but 0 a little more or less, other for other epochs."""
    trained = json.loads(model.read_text(encoding="utf-8"))
    luck = (0.004, -0.003, 0.002, -0.004)[(trained["seed"] + trained["epochs"]) % 4] if trained["seed"] else 0.0
    found = round(trained["mAP50"] - 0.01 + luck, 5)
    metrics = {"mAP50": found, "mAP50-95": found / 2, "precision": 0.5, "recall": 0.5, "ms_per_image": 1.0}
    return Evaluation(metrics)


def evaluate_with_report(
    model: Path, data: Path, imgsz: int, device: int | str | None, classes: Sequence[str], report: Path
) -> Evaluation:
    found = evaluate(model, data, report, imgsz, device)
    for name in ("precision_recall.tsv", "confusion.csv", "predictions.png"):
        write_atomic(report / "plots" / name, "a\tb\n1\t2\n")
    write_atomic(report / "metrics.json", json.dumps(found.metrics))
    return found
