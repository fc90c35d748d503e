"""The models that a training may start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.base.failures import Failure
from stages.detector import weights
from stages.detector.ultralytics import check_device, torch
from stages.detector.weights import model_file


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo11s.yaml", "yolov9s.yaml", "yolov10n.yaml", "yolov10x.yaml"])
def test_detectors_of_ultralytics_are_architectures(model: str) -> None:
    assert model_file(model) == model


@pytest.mark.parametrize("model", ["yolov8n-seg.yaml", "yolov8n-rtdetr.yaml", "yoloe-11n.yaml", "yolov8q.yaml"])
def test_what_the_project_cannot_train_is_refused_in_one_line(model: str) -> None:
    with pytest.raises(Failure, match="is neither a file nor a detector of Ultralytics"):
        model_file(model)


def test_own_weights_under_a_known_name_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    own = tmp_path / "yolov8n.pt"
    own.write_bytes(b"my own weights")
    with pytest.raises(Failure, match=r"is not the yolov8n\.pt of Ultralytics .*: give your own weights another name"):
        model_file("yolov8n.pt")
    assert own.read_bytes() == b"my own weights"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has Apple's GPU")
def test_a_gpu_of_apple_that_is_not_there_is_refused() -> None:
    with pytest.raises(Failure, match="device: 'mps' does not exist on this machine"):
        check_device("mps")
    check_device("cpu")
