"""Stage export: the model in other formats, each compared with PyTorch on the test split.

    python -m stages.export

Reads models/best.pt, data/prepared and the operating point in reports/evaluate/metrics.json. Writes models/best.onnx;
models/exported with the other formats of `export.formats` and a README that shows how to run best.onnx without PyTorch;
reports/export: metrics.json, and boxes.png with the boxes of the same images side by side. If a format differs from
PyTorch, the stage fails and writes no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.paths import (
    DATA,
    EXPORT_METRICS,
    EXPORTED,
    MODEL,
    NOT_EXPORTED,
    ONNX_MODEL,
    ROOT,
    TEST_METRICS,
)
from stages.data.contact_sheet import grid
from stages.detector.formats import FILES, write_readme
from stages.experiments.command import end_with_command
from stages.params import file as params_file

ONNX = ROOT / ONNX_MODEL
OTHERS = ROOT / EXPORTED
METRICS = ROOT / EXPORT_METRICS


def summary(metrics: Mapping[str, float], formats: tuple[str, ...]) -> str:
    """Return a line for each format."""
    return "\n".join(
        f"{name}: mAP50 {metrics[f'{name}_mAP50']:.3f} ({metrics[f'{name}_mAP50_difference']:+.3f} to PyTorch), "
        f"boxes {metrics[f'{name}_pixels_apart']:.3f} pixels apart, {metrics[f'{name}_ms_per_image']:.1f} ms per image "
        f"(PyTorch {metrics['pytorch_ms_per_image']:.1f}), {metrics[f'{name}_megabytes']:.1f} MB"
        for name in formats
    )


def main() -> None:
    end_with_command()
    params = params_file.load()
    formats = params.export.formats
    work = MODEL.parent / ".export"
    shutil.rmtree(work, ignore_errors=True)  # left by a killed run
    work.mkdir()
    try:
        if formats:
            from stages.detector.export import export  # imports torch, which takes seconds

            exported = export(MODEL, DATA, formats, params.imgsz, _threshold(), work)
            metrics, sheet = exported.metrics, exported.sheet
            print(summary(metrics, formats))
        else:
            metrics, sheet = {}, grid([np.full((64, 64, 3), 255, np.uint8)])
            print("export.formats is empty: nothing is exported")
        _keep(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    write_atomic(METRICS.with_name("boxes.png"), sheet)
    write_atomic(METRICS, json.dumps(metrics, indent=2) + "\n")


def _threshold() -> float:
    """Return the operating point that stage evaluate has chosen."""
    try:
        return float(json.loads((ROOT / TEST_METRICS).read_text(encoding="utf-8"))["threshold"])
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"{TEST_METRICS} has no threshold: run `dvc repro evaluate`") from error


def _keep(work: Path) -> None:
    """Move the exported files to their places. DVC requires each of its outs, also without the file for it."""
    shutil.rmtree(OTHERS, ignore_errors=True)
    onnx = work / FILES["onnx"]
    if onnx.is_file():
        onnx.replace(ONNX)
    else:
        write_atomic(ONNX, NOT_EXPORTED)
    write_readme(work)
    work.replace(OTHERS)


if __name__ == "__main__":
    failures.run(main)
