"""The cost of a trained model: it is measured, and added to the metrics of the training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.data.images import image_files
from stages.detector.cost import WARM_UP, add_cost, milliseconds
from stages.detector.training_report import train_with_report
from stages.params import file as params_file
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import SOURCE


class MemoryModel:
    """Answers without a prediction, and counts the calls."""

    def __init__(self) -> None:
        self.arguments: list[dict[str, Any]] = []

    def predict(self, pixels: Any, **arguments: Any) -> list[Any]:
        self.arguments.append(arguments)
        return [self]

    @property
    def boxes(self) -> MemoryModel:
        return self

    def cpu(self) -> MemoryModel:
        return self


def test_the_time_is_the_median_after_a_warm_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[float] = iter([0.0, 0.010, 1.0, 1.500, 2.0, 2.012, 3.0, 3.011])
    monkeypatch.setattr("stages.detector.cost.time.perf_counter", lambda: next(ticks))
    model = MemoryModel()
    images = image_files(data / "images" / "val")
    assert len(images) == 4
    assert milliseconds(model, images, 64, "cpu", 0.3) == pytest.approx(11.5)  # type: ignore[arg-type]
    assert len(model.arguments) == 4 + WARM_UP
    assert all(call["conf"] == 0.3 and call["imgsz"] == 64 for call in model.arguments)


def test_the_cost_joins_the_metrics_of_a_real_training(data: Path, tmp_path: Path) -> None:
    values = {**params_file.read(SOURCE / "params.yaml"), "epochs": 1, "imgsz": 64, "device": "cpu"}
    arguments, report = params_file.validate(values).training(), tmp_path / "report"
    trained = train_with_report(arguments, data, tmp_path / "models", report)
    before = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    measured = add_cost(trained.model, data, 64, "cpu", report)
    assert json.loads((report / "metrics.json").read_text(encoding="utf-8")) == {**before, **measured}
    assert measured["ms_per_image"] > 0
    assert measured["model_mb"] == round(trained.model.stat().st_size / 1e6, 2)
