"""The code of a reader who runs an exported model without PyTorch, and its boxes beside those of PyTorch."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.detector.ultralytics import YOLO
from tests.helpers.project import SOURCE

PAGE = SOURCE / "stages" / "detector" / "exported.md"


def snippet(page: Path = PAGE) -> str:
    """Return the code of a page that runs best.onnx with onnxruntime."""
    fences = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    (code,) = [fence for fence in fences if "onnxruntime" in fence]
    return str(code)


def of_files(code: str, onnx: Path, image: Path) -> str:
    """Return the code with other files, which must be named in it as the page names them."""
    for old, new in ((re.search(r'"[\w/]*best\.onnx"', code), onnx), (re.search(r'"photo\.jpg"', code), image)):
        assert old is not None
        code = code.replace(old[0], repr(str(new)))
    return code


def printed(code: str) -> NDArray[np.float64]:
    """Run the code, and return the corners that it prints, of shape (boxes, 4)."""
    rows: list[Any] = []
    exec(code, {"print": rows.append})
    (corners,) = rows
    return np.asarray(corners)


_loaded = cache(YOLO)


def by_pytorch(weights: Path, image: Path, imgsz: int, threshold: float) -> NDArray[np.float64]:
    """Return the corners of the boxes that Ultralytics predicts with PyTorch, of shape (boxes, 4)."""
    (result,) = _loaded(weights).predict(str(image), imgsz=imgsz, conf=threshold, device="cpu", verbose=False)
    return np.asarray(result.boxes.xyxy.cpu().numpy(), np.float64)


def largest_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the largest distance of a coordinate, after sorting the boxes; both must have the same number of boxes."""
    assert first.shape == second.shape
    if not len(first):
        return 0.0
    order = [np.lexsort(np.round(boxes).T) for boxes in (first, second)]
    return float(np.abs(first[order[0]] - second[order[1]]).max())
