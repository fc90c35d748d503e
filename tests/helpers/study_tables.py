"""Tables of a made-up study, in the form that stage study writes, and a made-up confirmation of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.decision import evidence
from stages.decision.confirmation import Confirmation, Repeat, first_settings
from stages.decision.evidence import Evidence
from tests.helpers.matches import plain_map50, predictions, random_images, table

SPACE = {
    "epochs": {"low": 2, "high": 5, "log": False},
    "imgsz": {"choices": [128, 160], "log": False},
    "lr0": {"low": 5e-4, "high": 5e-3, "log": True},
}
STUDY: dict[str, Any] = {
    "name": "tune-0a1b2c",
    "data": "d" * 64,
    "code": "c0de",
    "space": SPACE,
    "fixed": {"model": "yolov8n.yaml", "seed": 0},
    "sampler": "tpe",
    "pruner": "median",
    "trials": {"complete": 14, "pruned": 1, "fail": 1},
    "best": None,
    "start": {"params": {"epochs": 4, "imgsz": 160, "lr0": 0.002}, "mAP50": 0.72},
    "importances": {"epochs": 0.93, "lr0": 0.05, "imgsz": 0.02},
    "left_out": {"other data or code": 2, "unreadable": {"lathy-aces": "its dvc.lock is damaged"}},
}
DATA = {"splits": {split: {"images": 64, "boxes": 150} for split in ("train", "val", "test")}, "digest": "d" * 64}


def trial_rows(count: int, pruned: int = 1, failed: int = 1) -> list[dict[str, Any]]:
    """Return rows of trials.csv: the baseline, then trials that are better with more epochs."""
    random = np.random.default_rng(0)
    rows = [{"number": 0, "name": "baseline-1234567", "source": "baseline", "state": "complete", "mAP50": 0.72,
             "seconds": 40.0, "epochs_trained": 4, "epochs": 4, "imgsz": 160, "lr0": 0.002}]  # fmt: skip
    for number in range(1, count):
        epochs = int(random.integers(2, 6))
        state = "pruned" if number <= pruned else "fail" if number <= pruned + failed else "complete"
        point = {"epochs": epochs, "imgsz": int(random.choice([128, 160])), "lr0": round(random.uniform(5e-4, 5e-3), 6)}
        value = 0.5 + 0.06 * epochs + random.normal(0, 0.005)
        rows.append({
            "number": number, "name": f"tune-0a1b2c-{number:03d}", "source": "sampler", "state": state, **point,
            "mAP50": None if state == "fail" else 0.2 if state == "pruned" else round(float(value), 5),
            "seconds": 10.0 * epochs, "epochs_trained": 1 if state == "pruned" else epochs,
            "reason": "out of memory" if state == "fail" else "",
        })  # fmt: skip
    return rows


def write_tables(
    folder: Path, trials: list[dict[str, Any]], grid: int = 2, study: dict[str, Any] | None = None
) -> None:
    """Write the tables of a study into a folder: these trials, and a grid of so many points."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(STUDY if study is None else study), encoding="utf-8")
    head = ["number", "name", "source", "state", "mAP50", "best", "seconds", "epochs_trained", "ms_per_image"]
    _write(folder / "trials.csv", [*head, *SPACE, "reason"], trials)
    runs = [{"name": f"grid-{number}", "source": "grid", "mAP50": 0.6 + number / 100, "seconds": 20.0, "epochs": 3,
             "test_mAP50": 0.59, "ms_per_image": 8.0, "imgsz": 128, "lr0": 0.001 * (number + 1)}
            for number in range(grid)]  # fmt: skip
    _write(folder / "compared.csv", ["name", "source", "mAP50", "seconds", "test_mAP50", "ms_per_image", *SPACE], runs)


def _write(path: Path, head: list[str], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def read_tables(folder: Path) -> Evidence:
    """Return the tables of a folder, which must have a study."""
    tables = evidence.read(folder)
    assert tables is not None
    return tables


def with_predictions(confirmation: Confirmation, images: int = 64) -> Confirmation:
    """Return repeats with the predictions of each image, and with mAP50 of these predictions on the test split."""
    random = np.random.default_rng(0)
    pictures, repeats = random_images(images, random), []
    for repeat in confirmation.repeats:
        skill = 1.0 if repeat.role == "baseline" else 2.0
        matches = predictions(pictures, skill + random.normal(0, 0.05), random)
        repeats.append(replace(repeat, tested=round(plain_map50(matches), 5), matches=table(matches)))
    return Confirmation(confirmation.settings, repeats, confirmation.failed)


def confirmed(study: Evidence, seeds: int = 3) -> Confirmation:
    """Return repeats in which each setting is better than the one before it, without predictions of images."""
    settings = first_settings(study)
    repeats = [
        Repeat(setting.role, f"confirm-{place}{'0' * 5}-s{seed}", seed, 0.70 + 0.08 * place + seed / 50,
               0.69 + 0.08 * place + (seed + place) % 3 / 1000, 40.0, 8.0)
        for place, setting in enumerate(settings)
        for seed in range(1, seeds + 1)
    ]  # fmt: skip
    return Confirmation(settings, repeats, {})
