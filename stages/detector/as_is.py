"""Measure a pretrained model without any training: the setting that costs nothing.

The result for each model, data set and image size is kept in `.cache/as_is` of the main repository.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.paths import main_root

CACHE = main_root() / ".cache" / "as_is"


@dataclass(frozen=True)
class AsIs:
    """A pretrained model without training, and its results.

    Attributes:
        model, head: The values in params.yaml.
        weights: The file of the user's weights with the classes of the data set.
        digest: SHA-256 of that file, in hexadecimal.
        imgsz: The pixels of the longest side of an image for the model.
        kept: The classes whose rows come from the weights.
        validated: mAP50 on the validation split, 0 to 1.
        tested: mAP50 on the test split, 0 to 1.
        ms_per_image: Milliseconds for one image.
        matches: The text of matches.csv for the test split; empty if it is not known.
        by_seed: mAP50 on the test split of each repeat that has its own split, by the seed of the repeat.
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
    matches: str = field(default="", repr=False)
    by_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name of its run in MLflow."""
        return f"as-is-{self.digest[:6]}-{self.imgsz}"


def measure_best(trainings: Iterable[Mapping[str, Any]], data: Path, code: Mapping[str, str]) -> AsIs | None:
    """Measure the models that several trainings start from; return the best one on the validation split.

    Args:
        trainings: The arguments of each training.
        data: A prepared data set.
        code: The digests of the code that evaluates. Saved results of other code are not used.

    Returns:
        The best model and its results, or None if `measure` returns None for all of them.

    Raises:
        Failure: As from `measure`.
    """
    results = [measure(arguments, data, code) for arguments in trainings]
    models = [result for result in results if result is not None]
    return max(models, key=lambda model: model.validated, default=None)


def measure(arguments: Mapping[str, Any], data: Path, code: Mapping[str, str]) -> AsIs | None:
    """Measure the model that a training would start from, or read its saved result.

    Args:
        arguments: The training arguments, as for `stages.detector.training.train`.
        data: A prepared data set.
        code: The digests of the code that evaluates. Saved results of other code are not used.

    Returns:
        The model and its results, or None if it is untrained or has none of the classes of the data set.

    Raises:
        Failure: The model does not exist or cannot be downloaded, or `head` does not fit it.
    """
    if not str(arguments["model"]).endswith(".pt"):
        return None
    from stages.detector.evaluation import evaluate  # the imports take seconds, and most runs start from no weights
    from stages.detector.head import class_names, start_from
    from stages.detector.matches import matches_table
    from stages.detector.ultralytics import torch

    start = start_from(arguments["model"], arguments["head"], class_names(data), arguments["seed"])
    if not start.kept:
        return None
    weights, imgsz = Path(start.model), int(arguments["imgsz"])
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    images = json.loads((data / "summary.json").read_text(encoding="utf-8"))["digest"]
    device, versions = arguments["device"], [version(package) for package in ("ultralytics", "torch")]
    inputs = json.dumps([digest, images, imgsz, str(device), versions, sorted(code.items())])
    path = CACHE / f"{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.json"
    if path.is_file():
        results = json.loads(path.read_text(encoding="utf-8"))
    else:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            val, test = (evaluate(weights, data, Path(work), imgsz, device, split) for split in ("val", "test"))
        torch.cuda.empty_cache()  # frees the memory for a training on several GPUs, which runs in other processes
        results = {
            "validated": val.metrics["mAP50"],
            "tested": test.metrics["mAP50"],
            "ms_per_image": test.metrics["ms_per_image"],
            "matches": matches_table(test.matches, class_names(data)),
        }
        write_atomic(path, json.dumps(results))
    return AsIs(arguments["model"], arguments["head"], weights, digest, imgsz, start.kept, **results)
