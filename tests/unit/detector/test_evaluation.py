"""The report of an evaluation: real predictions of a trained model on both splits, its files and its metrics."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages import evaluate as stage
from stages.data.boxes import SIZES
from stages.data.preparation import prepare
from stages.detector import evaluation, head
from stages.detector.average_precision import accuracies
from stages.detector.cost import milliseconds
from stages.detector.evaluation import Evaluation, evaluate, evaluate_with_report
from stages.detector.head import start_from
from stages.detector.matches import read_matches
from stages.detector.operating_point import OperatingPoint, at_threshold, choose
from stages.detector.training import train
from stages.detector.ultralytics import torch
from stages.params import file as params_file
from tests.helpers import data as group
from tests.helpers.matches import plain_map50
from tests.helpers.photographs import WEIGHTS, make_zip, real
from tests.helpers.predictions import by_pycocotools
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import SOURCE

METRICS = {"mAP50", "mAP50-95", "precision", "recall", "ms_per_image"}
AT_THRESHOLD = {"threshold", "precision_at_threshold", "recall_at_threshold"}
LOST = {"lost_localisation", "lost_duplicate", "lost_background", "lost_missed"}
FILES = {
    "metrics.json",
    "accuracy.csv",
    "matches.csv",
    "plots/calibration.csv",
    "plots/confusion.csv",
    "plots/errors.csv",
    "plots/precision_recall.tsv",
    "plots/predictions.png",
    "plots/worst.png",
}


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {**params_file.read(SOURCE / "params.yaml"), "epochs": 6, "imgsz": 64, "device": "cpu"}
    return train(params_file.validate(values).training(), data, tmp_path_factory.mktemp("model")).model


@pytest.fixture(scope="module")
def report(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("report")
    return evaluate_with_report(model, data, 64, "cpu", ["person"], "f1", folder), folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_report_has_every_file_and_leaves_nothing_beside_the_model(
    report: tuple[Evaluation, Path], model: Path
) -> None:
    _, folder = report
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES
    assert [path.name for path in model.parent.iterdir()] == ["best.pt"]
    for sheet in folder.rglob("*.png"):
        assert cv2.imread(str(sheet)) is not None


def test_the_metrics_are_flat_numbers_with_the_sizes_that_occur_and_the_errors_of_one_class(
    report: tuple[Evaluation, Path],
) -> None:
    result, folder = report
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == result.metrics
    assert metrics.keys() >= METRICS | AT_THRESHOLD | LOST
    assert not metrics.keys() & {"lost_class", "lost_both"}, "a model of one class cannot make these errors"
    assert all(isinstance(value, float) for value in metrics.values())
    table = rows(folder / "accuracy.csv")
    occurring = {row["size"] for row in table if row["class"] == "all" and int(row["objects"])} - {"all"}
    assert {name for name in metrics if name.startswith("mAP50_")} == {f"mAP50_{size}" for size in occurring}
    assert len(metrics) <= 16


def test_the_numbers_of_ultralytics_are_those_of_a_plain_evaluation(
    report: tuple[Evaluation, Path], model: Path, data: Path, tmp_path: Path
) -> None:
    plain = evaluate(model, data, tmp_path, 64, "cpu")
    for name in METRICS - {"ms_per_image"}:
        assert report[0].metrics[name] == plain.metrics[name]
    assert (report[0].curve[1] == plain.curve[1]).all()


def test_map50_of_the_predictions_of_each_image_is_that_of_the_metrics(
    report: tuple[Evaluation, Path], data: Path
) -> None:
    result, folder = report
    matches = read_matches((folder / "matches.csv").read_text(encoding="utf-8"))
    assert matches.images == tuple(sorted(path.name for path in (data / "images" / "test").iterdir()))
    assert matches.classes["person"].objects.sum() == sum(len(image.truth_classes) for image in result.images)
    assert plain_map50(matches) == pytest.approx(result.metrics["mAP50"], abs=2e-5)


def test_the_operating_point_is_chosen_on_the_validation_split_and_measured_on_the_test_split(
    report: tuple[Evaluation, Path], model: Path, data: Path, tmp_path: Path
) -> None:
    point = choose(evaluate(model, data, tmp_path, 64, "cpu", "val").images, "f1")
    tested = at_threshold(report[0].images, point.threshold)
    metrics = report[0].metrics
    assert metrics["threshold"] == point.threshold
    assert metrics["precision_at_threshold"] == pytest.approx(tested.precision, abs=1e-5)
    assert metrics["recall_at_threshold"] == pytest.approx(tested.recall, abs=1e-5)


def test_boxes_are_in_pixels_of_the_image_as_evaluated(
    model: Path, photograph: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photograph of 400 by 200 pixels is one of 64 by 32 for the model. Ultralytics adds a border of 16 pixels."""
    box = {"bboxes": torch.tensor([[40.0, 24.0, 56.0, 40.0]]), "conf": torch.tensor([0.9]), "cls": torch.tensor([0.0])}
    monkeypatch.setattr(evaluation._Validator, "postprocess", lambda *_: [{**box, "extra": torch.zeros(1, 0)}])
    for split in ("train", "val", "test"):
        file = photograph(f"data/images/{split}/wide.png", 400, 200)
        label = tmp_path / "data" / "labels" / split / file.with_suffix(".txt").name
        label.parent.mkdir(parents=True)
        label.write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")
    data = tmp_path / "data"
    content = "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {0: person}\n"
    (data / "data.yaml").write_text(content.replace("path: .", f"path: {data}"), encoding="utf-8")
    (image,) = evaluate(model, data, tmp_path / "work", 64, "cpu").images
    assert image.size == (64, 32)
    assert image.truth_boxes == pytest.approx(np.array([[24, 8, 40, 24]]))
    assert image.path.name == "wide.png"
    assert image.overlaps == pytest.approx(np.array([[1.0]]))
    assert image.matched.tolist() == [0]


def test_confusions_count_at_the_operating_point(
    report: tuple[Evaluation, Path], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path, tmp_path: Path
) -> None:
    seen: list[float] = []

    def note(*arguments: float) -> float:
        seen.append(arguments[-1])
        return milliseconds(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "milliseconds", note)
    again = evaluate_with_report(model, data, 64, "cpu", ["person"], "f1", tmp_path)
    assert seen == [again.metrics["threshold"]]
    kept = sum(len(image.above(again.metrics["threshold"]).confidences) for image in again.images)
    assert again.confusion[0].sum() == kept


def test_a_rule_that_no_threshold_fulfils_gives_a_warning(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "choose", lambda images, rule: OperatingPoint(0.4, 0.8, 0.5))
    result = evaluate_with_report(model, data, 64, "cpu", ["person"], {"precision": 0.9}, tmp_path)
    assert "no threshold has precision 0.9 on the validation split" in result.warning
    assert not evaluate_with_report(model, data, 64, "cpu", ["person"], {"precision": 0.8}, tmp_path).warning


@real
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the weights that know people are not beside this checkout")
def test_real_predictions_on_the_people_of_coco128_have_the_ap_of_pycocotools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "CACHE", tmp_path / "heads")
    monkeypatch.setattr(evaluation, "TIMED", 1)
    archive, data = make_zip(tmp_path / "coco128.zip"), tmp_path / "prepared"
    prepare(group.data(source="coco128", zip=str(archive), split={"train": 1, "val": 1, "test": 59}), data, workers=1)
    start = start_from(str(WEIGHTS), {"person": "Normal"}, ["person"])
    result = evaluate(Path(start.model), data, tmp_path / "work", 160, "cpu")
    precisions = by_pycocotools(result.images, 1)
    assert len(result.images) == 59
    for row in accuracies(result.images, 1):
        of_size = precisions[:, :, 0, list(SIZES).index(row.size)]
        assert row.ap50 == pytest.approx(of_size[0].mean(), abs=0.001)
        assert row.ap50_95 == pytest.approx(of_size.mean(), abs=0.001)
        if row.size == "all":
            assert row.ap50 == pytest.approx(result.metrics["mAP50"], abs=0.02), "Ultralytics interpolates differently"


def test_the_stage_prints_what_is_lost_and_the_operating_point() -> None:
    metrics = {"mAP50": 0.728, "mAP50-95": 0.293, "ms_per_image": 14.51, "lost_missed": 2.05, "lost_background": 7.31}
    metrics |= {"threshold": 0.3712, "precision_at_threshold": 0.7, "recall_at_threshold": 0.62}
    assert stage.summary(metrics, "f1").splitlines() == [
        "test split: mAP50 0.728, mAP50-95 0.293, 14.5 ms per image",
        "points of mAP50 lost by kind of error: background 7.3, missed 2.0",
        "confidence over 0.371 (f1 on the validation split): precision 0.700, recall 0.620",
    ]
