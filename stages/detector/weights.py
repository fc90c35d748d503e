"""Models to start from: untrained architectures, and weights that are downloaded once and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

from stages.base.downloads import fetch
from stages.base.failures import Failure
from stages.base.paths import locate, main_root

WEIGHTS = main_root() / "weights"

# The weights that this project can download: the address of the release, and the digest of each file.
RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"
KNOWN = {"yolov8n.pt": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"}

_SCALE = re.compile(r"(\d+)([nslmx])(.+)?$")  # yolov8n.yaml is yolov8.yaml at scale n
_DETECTOR = re.compile(r"yolo(?!e)(?!.*-(cls|seg|sem|pose|obb|depth|world|rtdetr)).*\.yaml")


def model_file(model: str) -> str:
    """Return the file or the architecture that Ultralytics loads for the parameter `model`.

    A `.yaml` is the user's file or an architecture of Ultralytics, untrained. A `.pt` is the user's file, or one of
    KNOWN, which is downloaded once to `weights/` of the main repository.

    Raises:
        Failure: The model does not exist or cannot be downloaded. The message says which file to download by hand, and
            where to put it.
    """
    if (file := locate(model)).is_file():
        return str(file)
    if not model.endswith(".pt"):
        if _is_architecture(model):
            return model
        raise Failure(f"model: {model!r} is neither a file nor a detector of Ultralytics, such as yolov8n.yaml")
    kept = WEIGHTS / model
    if model not in KNOWN:
        if kept.is_file():
            return str(kept)
        raise Failure(f"model: {model!r} is not a file; put it at {kept}, or set {', '.join(KNOWN)} or yolov8n.yaml")
    if kept.is_file() and hashlib.sha256(kept.read_bytes()).hexdigest() != KNOWN[model]:  # it would be overwritten
        raise Failure(
            f"model: {kept} is not the {model} of Ultralytics (sha256 {KNOWN[model]}): give your own weights another "
            "name, or remove a damaged file"
        )
    try:
        return str(fetch(RELEASE + model, WEIGHTS, model, sha256=KNOWN[model]))
    except Failure as failure:
        raise Failure(
            f"model: {failure}; fetch it by hand (sha256 {KNOWN[model]}) and put it at {kept}, "
            "or train from scratch with model: yolov8n.yaml"
        ) from failure


def _is_architecture(model: str) -> bool:
    """Return whether this is the name of a detector among Ultralytics' own architectures."""
    package = importlib.util.find_spec("ultralytics")
    if package is None or package.origin is None or not _DETECTOR.fullmatch(model):
        return False
    names = {path.name for path in (Path(package.origin).parent / "cfg" / "models").rglob("yolo*.yaml")}
    return model in names or _SCALE.sub(r"\1\3", Path(model).stem) + ".yaml" in names  # YOLOv10 has a file per scale
