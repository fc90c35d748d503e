"""The detector as MLflow serves it: an image in, a table of boxes out.

MLflow keeps this file beside the weights, and runs it to load the model ("models from code"). It imports nothing of
`stages`, because it also runs on machines without this repository.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

NUMBERS = ("confidence", "x1", "y1", "x2", "y2")
IOU = 0.7  # Ultralytics' own default


def signature(confidence: float) -> ModelSignature:
    """Return the inputs, outputs and parameters of the model. `confidence` is its default threshold, 0 to 1."""
    defaults = {"confidence": confidence, "iou": IOU}
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, 3))]),
        outputs=Schema([ColSpec(DataType.string, "label"), *(ColSpec(DataType.double, name) for name in NUMBERS)]),
        params=ParamSchema([ParamSpec(name, DataType.double, default) for name, default in defaults.items()]),
    )


class Detector(PythonModel):
    """A YOLO detector for one image at a time."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the file `weights`, and the model's configuration.

        `imgsz` is the training's image size in pixels. `confidence` is the default threshold, 0 to 1.
        """
        _keep_to_itself()
        from ultralytics import YOLO  # here, because MLflow also runs this file to register the model

        self._yolo = YOLO(context.artifacts["weights"])
        self._imgsz = int(context.model_config["imgsz"])
        self._defaults = {"confidence": float(context.model_config["confidence"]), "iou": IOU}

    # MLflow 3.17 reads the type of `model_input`, and warns at each load if it is Any or an array of uint8.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Find objects in an image.

        Args:
            context: Not used.
            model_input: One image, uint8 of shape (height, width, 3), RGB, of any size from 1 by 1 pixel.
            params: `confidence`: the boxes over it are in the table, by default those over the operating point of the
                model; `iou`, the overlap of two boxes of one class above which the less confident box is dropped. Both
                are 0 to 1.

        Returns:
            One row for each box, the most confident first: label, confidence (0 to 1), and the corners x1, y1, x2, y2
            in pixels of the image. The table is empty if there is no object.

        Raises:
            ValueError: The input is not such an image, or a parameter is out of its range.
        """
        _check(model_input)
        chosen = self._defaults | (params or {})
        (prediction,) = self._yolo.predict(
            np.ascontiguousarray(model_input[..., ::-1]),  # Ultralytics expects arrays in BGR
            imgsz=self._imgsz,
            conf=chosen["confidence"],
            iou=chosen["iou"],
            save=False,
            verbose=False,
        )
        boxes = prediction.boxes.cpu()
        numbers = np.column_stack([boxes.conf.numpy(), boxes.xyxy.numpy()]).astype(np.float64)
        table = pd.DataFrame(numbers, columns=list(NUMBERS))
        table.insert(0, "label", pd.Series([prediction.names[int(number)] for number in boxes.cls], dtype=str))
        return table.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _check(image: Any) -> None:
    expected = "one uint8 array of shape (height, width, 3), RGB"
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image: got {type(image).__name__}, expected {expected}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image: got {image.dtype} of shape {image.shape}, expected {expected}")


def _keep_to_itself() -> None:
    """Keep Ultralytics from using the network and the user's home. If it is already imported, do nothing."""
    if "ultralytics" in sys.modules:
        return
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="person-detector-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder


set_model(Detector())
