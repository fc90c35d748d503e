"""In the place of stages/detector/export.py: texts in the place of the exported files of a quick training's model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.detector.formats import FILES


@dataclass(frozen=True)
class Exported:
    files: dict[str, Path]
    metrics: dict[str, float]
    sheet: bytes


def export(
    weights: Path, data: Path, formats: Sequence[str], imgsz: int, threshold: float, folder: Path, name: str = ""
) -> Exported:
    """Each format is as good as PyTorch, and twice as fast."""
    mean = json.loads(weights.read_text(encoding="utf-8"))["mAP50"]
    files = {wanted: folder / FILES[wanted] for wanted in formats}
    metrics = {"pytorch_mAP50": mean, "pytorch_ms_per_image": 1.0, "pytorch_megabytes": 0.1}
    for wanted, path in files.items():
        path.write_text(f"{weights.read_text(encoding='utf-8')} {imgsz} {threshold}", encoding="utf-8")
        about = {"mAP50": mean, "mAP50_difference": 0.0, "pixels_apart": 0.0, "ms_per_image": 0.5, "megabytes": 0.1}
        metrics |= {f"{wanted}_{key}": value for key, value in about.items()}
    return Exported(files, metrics, b"a sheet")
