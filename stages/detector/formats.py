"""The formats that a model can be exported to. It imports no YOLO, so that stage check can read it quickly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from stages.base.failures import BadParams
from stages.base.files import write_atomic

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before its import: from 1.29 on, onnxruntime sends usage data by default

# Formats of Ultralytics that take images of any size, as PyTorch does, and whose packages never call pip: the names of
# the files, which Ultralytics needs to load them, and the modules that write and run them.
FILES = {"onnx": "best.onnx", "openvino": "best_openvino_model", "torchscript": "best.torchscript"}
MODULES: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",), "torchscript": ()}


def check_formats(formats: Sequence[str], name: str = "params.yaml") -> None:
    """Check that the packages of each format are installed.

    Args:
        formats: `export.formats` of params.yaml.
        name: The name of the file, with which a message begins.

    Raises:
        BadParams: A package is missing.
    """
    for wanted in formats:
        missing = [module for module in MODULES[wanted] if find_spec(module) is None]
        if missing:
            install = "-r requirements.txt" if wanted == "onnx" else " ".join(missing)
            raise BadParams(
                f"{name}: export.formats: {wanted} needs the package {' and '.join(missing)}, which is not installed; "
                f"run `pip install {install}`, or remove {wanted} from export.formats"
            )


def write_readme(folder: Path) -> None:
    """Write the page that says how to run the exported files beside them."""
    page = Path(__file__).with_name("exported.md").read_text(encoding="utf-8")
    write_atomic(folder / "README.md", page)
