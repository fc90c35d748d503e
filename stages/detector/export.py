"""Export a model to other formats, and compare each with PyTorch on the test split.

Ultralytics writes and runs the formats. All of them get the images that PyTorch gets, and run on the CPU, so that the
boxes and the times can be compared.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.failures import Failure
from stages.base.files import md5
from stages.data.boxes import box_iou
from stages.data.contact_sheet import COLUMNS, grid, tile
from stages.data.images import read_image
from stages.detector.evaluation import Evaluation, evaluate
from stages.detector.formats import FILES, MODULES, check_formats
from stages.detector.predictions import ImagePredictions, fractions
from stages.detector.sheets import PREDICTED
from stages.detector.ultralytics import YOLO

LARGEST_DIFFERENCE = 0.005  # of mAP50: rounding moves it by less than a tenth of this
IOU = 0.7  # Ultralytics' own overlap of two boxes above which the less confident one is dropped
SHOWN = 4  # images on the sheet
SIDE = 224  # pixels of their tiles


@dataclass(frozen=True)
class Exported:
    """The files of an export, and their comparison with PyTorch.

    Attributes:
        files: A file or a folder for each format.
        metrics: mAP50 on the test split (0 to 1), ms_per_image and megabytes of PyTorch and of each format, by flat
            names such as `onnx_mAP50`. For each format also `mAP50_difference` to PyTorch, and `pixels_apart`: the
            largest distance of a box's corner from that of PyTorch's box, in pixels of the image as evaluated.
        sheet: The first images as PNG: the boxes of PyTorch, and beside them those of each format.
    """

    files: dict[str, Path]
    metrics: dict[str, float]
    sheet: bytes


def export(
    weights: Path, data: Path, formats: Sequence[str], imgsz: int, threshold: float, folder: Path, name: str = ""
) -> Exported:
    """Export a model, and compare each format with PyTorch.

    The same weights, `imgsz` and threshold give the same bytes of best.onnx on one machine.

    Args:
        weights: The model.
        data: A prepared data set, whose test split is read.
        formats: Keys of `FILES`, at least one.
        imgsz: The pixels of the longest side of an image for the model.
        threshold: The operating point, 0 to 1, which the files keep.
        folder: An empty folder for the files.
        name: The name of the model in a message.

    Raises:
        BadParams: A package is missing.
        Failure: An export fails, or the mAP50 of a format differs from PyTorch's by more than 0.005.
    """
    check_formats(formats)
    about = {
        "weights": md5(weights),
        "longest_side": imgsz,
        "threshold": threshold,
        "iou": IOU,
    }
    files = {wanted: _write(weights, wanted, imgsz, about, folder) for wanted in formats}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        results = {
            format_name: evaluate(path, data, Path(work), imgsz, "cpu", confidence=threshold)
            for format_name, path in {"pytorch": weights, **files}.items()
        }
    metrics = _metrics(results, {"pytorch": weights, **files}, threshold)
    _check(metrics, formats, name or weights.name)
    return Exported(files, metrics, _sheet(results, threshold))


def _write(weights: Path, wanted: str, imgsz: int, about: Mapping[str, Any], folder: Path) -> Path:
    """Export to a format. Ultralytics writes beside the weights, so they are copied first."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        copy = Path(work) / "best.pt"
        shutil.copyfile(weights, copy)
        yolo = YOLO(str(copy))
        yolo.add_callback("on_export_start", _describe(about))
        options = {"simplify": False} if "onnx" in MODULES[wanted] else {}  # it needs onnxslim, and saves no time
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's tracer, about code of Ultralytics
                made = Path(yolo.export(format=wanted, imgsz=imgsz, dynamic=True, device="cpu", **options))
        except Exception as error:  # each format has errors of its own
            raise Failure(
                f"export.formats: the export to {wanted} failed ({type(error).__name__}: {error}); "
                f"remove {wanted} from export.formats, or install other versions of its packages"
            ) from error
        target = folder / FILES[wanted]
        shutil.move(made, target)
    return target


def _describe(about: Mapping[str, Any]) -> Callable[[Any], None]:
    """Return a callback that adds facts to the metadata of an export, and removes the date: same model, same bytes."""

    def describe(exporter: Any) -> None:
        exporter.metadata.pop("date", None)
        exporter.metadata.update(about)

    return describe


def _metrics(results: Mapping[str, Evaluation], files: Mapping[str, Path], threshold: float) -> dict[str, float]:
    torch = results["pytorch"]
    metrics: dict[str, float] = {}
    for name, result in results.items():
        metrics[f"{name}_mAP50"] = result.metrics["mAP50"]
        if name != "pytorch":
            metrics[f"{name}_mAP50_difference"] = round(result.metrics["mAP50"] - torch.metrics["mAP50"], 5)
            apart = max((pixels_apart(*pair, threshold) for pair in _pairs(torch, result)), default=0.0)
            metrics[f"{name}_pixels_apart"] = round(apart, 5)
        metrics[f"{name}_ms_per_image"] = result.metrics["ms_per_image"]
        metrics[f"{name}_megabytes"] = round(_size(files[name]) / 1e6, 2)
    return metrics


def _pairs(one: Evaluation, other: Evaluation) -> list[tuple[ImagePredictions, ImagePredictions]]:
    by_path = {image.path: image for image in other.images}
    return [(image, by_path[image.path]) for image in sorted(one.images, key=lambda image: image.path.parts)]


def pixels_apart(expected: ImagePredictions, image: ImagePredictions, threshold: float) -> float:
    """Return the largest distance in pixels between a coordinate of a box and that of the same box of another format.

    Args:
        expected: The predictions of PyTorch. Those over the threshold are compared.
        image: Those of the other format, of any confidence: a confidence near the threshold may be rounded below it.
        threshold: The operating point, 0 to 1.
    """
    kept = expected.above(threshold)
    if not len(kept.boxes):
        return 0.0
    if not len(image.boxes):
        return max(expected.size)
    overlaps = box_iou(kept.boxes, image.boxes) * (kept.classes[:, None] == image.classes[None, :])
    return float(np.abs(kept.boxes - image.boxes[overlaps.argmax(axis=1)]).max())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check(metrics: Mapping[str, float], formats: Sequence[str], name: str) -> None:
    for wanted in formats:
        if abs(metrics[f"{wanted}_mAP50_difference"]) > LARGEST_DIFFERENCE:
            raise Failure(
                f"{name} as {wanted} has mAP50 {metrics[f'{wanted}_mAP50']:.3f} on the test split, with PyTorch "
                f"{metrics['pytorch_mAP50']:.3f}: more than {LARGEST_DIFFERENCE} apart, so it is not kept; install the "
                f"versions of requirements.txt and run `dvc repro`, or remove {wanted} from export.formats"
            )


def _sheet(results: Mapping[str, Evaluation], threshold: float) -> bytes:
    """Return the first images as PNG, with the boxes of PyTorch over the threshold, and those of each format."""
    tiles = []
    torch, *others = results.values()
    for place, image in enumerate(sorted(torch.images, key=lambda image: image.path.parts)[:SHOWN]):
        pixels = read_image(image.path)
        versions = [image, *(_pairs(torch, other)[place][1] for other in others)]
        for name, version in zip(results, versions, strict=True):
            kept = version.above(threshold)
            boxes = fractions(kept.boxes, kept.classes, kept.size)
            marks = [(box, PREDICTED, f"{value:.3f}") for box, value in zip(boxes, kept.confidences, strict=True)]
            title = "PyTorch" if version is image else f"{name}, {pixels_apart(image, version, threshold):.3f} px apart"
            tiles.append(tile(pixels, marks, title, SIDE))
    return grid(tiles, len(results) * max(1, COLUMNS // len(results)))
