"""Measure a pretrained model as it is, before any training: the setting that costs nothing.

It is measured once for each model, data set and image size, and kept in `.cache/as_is` of the main repository.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.paths import main_root

CACHE = main_root() / ".cache" / "as_is"


@dataclass(frozen=True)
class AsIs:
    """A pretrained model without training.

    Attributes:
        model, head: As in params.yaml.
        weights: The file: the user's weights with the classes of the data set.
        digest: SHA-256 of that file, in hexadecimal.
        imgsz: Pixels of the longest side that the model was given.
        kept: The classes whose rows come from the weights.
        validated: mAP50 on the validation split, 0 to 1.
        tested: mAP50 on the test split, 0 to 1.
        ms_per_image: Milliseconds for one image.
    """

    model: str
    head: Any
    weights: Path
    digest: str
    imgsz: int
    kept: tuple[str, ...]
    validated: float
    tested: float
    ms_per_image: float

    @property
    def name(self) -> str:
        """The name of its run in MLflow."""
        return f"as-is-{self.digest[:6]}-{self.imgsz}"


def measure_best(trainings: Iterable[Mapping[str, Any]], data: Path, code: Mapping[str, str]) -> AsIs | None:
    """Measure the models that several trainings start from; return the one that is best on the validation split.

    Args:
        trainings: The arguments of each training.
        data: A prepared data set.
        code: Digests of the code that evaluates: results of other code do not count.

    Raises:
        Failure: As from `measure`.
    """
    results = [measure(arguments, data, code) for arguments in trainings]
    return max((one for one in results if one is not None), key=lambda one: one.validated, default=None)


def measure(arguments: Mapping[str, Any], data: Path, code: Mapping[str, str]) -> AsIs | None:
    """Measure the model that a training would start from. A result that is known is not measured again.

    Args:
        arguments: The training arguments, as `stages.training.train` takes them.
        data: A prepared data set.
        code: Digests of the code that evaluates: results of other code do not count.

    Returns:
        The model and its results; None where it is untrained, or knows none of the classes of the data set.

    Raises:
        Failure: The model cannot be had, or `head` does not fit it.
    """
    if not str(arguments["model"]).endswith(".pt"):
        return None
    from stages.detector.evaluation import evaluate  # these take seconds, and most runs start from no weights
    from stages.detector.head import class_names, start_from
    from stages.detector.ultralytics import torch

    start = start_from(arguments["model"], arguments["head"], class_names(data), arguments["seed"])
    if not start.kept:
        return None
    weights, imgsz = Path(start.model), int(arguments["imgsz"])
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    images = json.loads((data / "summary.json").read_text(encoding="utf-8"))["digest"]
    device, versions = arguments["device"], [version(package) for package in ("ultralytics", "torch")]
    made = json.dumps([digest, images, imgsz, str(device), versions, sorted(code.items())])
    path = CACHE / f"{hashlib.sha256(made.encode()).hexdigest()[:16]}.json"
    if path.is_file():
        measured = json.loads(path.read_text(encoding="utf-8"))
    else:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            results = [evaluate(weights, data, Path(work), imgsz, device, split).metrics for split in ("val", "test")]
        torch.cuda.empty_cache()  # a training on several GPUs runs in other processes
        measured = {
            "validated": results[0]["mAP50"],
            "tested": results[1]["mAP50"],
            "ms_per_image": results[1]["ms_per_image"],
        }
        write_atomic(path, json.dumps(measured))
    return AsIs(arguments["model"], arguments["head"], weights, digest, imgsz, start.kept, **measured)
