"""Networks for tests that need boxes and no training."""

from __future__ import annotations

from pathlib import Path

from stages.detector.ultralytics import YOLO, torch

# isort: split
from ultralytics.nn.tasks import DetectionModel


def save_untrained(path: Path, imgsz: int, classes: int = 80) -> None:
    """Save an untrained network whose boxes depend on the picture: its head has large outputs."""
    torch.manual_seed(0)
    yolo = YOLO("yolov8n.yaml")
    yolo.model = DetectionModel("yolov8n.yaml", nc=classes, verbose=False)
    for part in yolo.model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        yolo.model.train()(torch.rand(8, 3, imgsz, imgsz))
        head = yolo.model.model[-1]
        for layer in (*head.cv2, *head.cv3):
            layer[-1].weight *= 12
        for layer in head.cv2:
            layer[-1].bias[:] = -torch.arange(16).repeat(4)  # small boxes
    yolo.save(path)
