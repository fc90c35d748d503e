"""Class rows of pretrained weights: the rows that are kept, their order, and the new rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.base.failures import Failure
from stages.detector import head
from stages.detector.head import class_rows, start_from
from stages.detector.training import Trainer, train
from stages.detector.ultralytics import YOLO, checkpoint_bytes, load_checkpoint, torch
from stages.params import file as params_file
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import SOURCE

VALUES = params_file.read(SOURCE / "params.yaml")
COCO = ["person", "bicycle", "car", *(f"thing {number}" for number in range(3, 79)), "toothbrush"]
"""Eighty names, those that the tests use at COCO's places."""

Weights = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CACHE", tmp_path / "heads")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """Write a checkpoint of random weights: `weights(architecture, names, half)`."""

    def write(architecture: str = "yolov8n.yaml", names: list[str] = COCO, half: bool = True) -> Path:
        torch.manual_seed(0)
        yolo = YOLO(architecture)
        network = type(yolo.model)(architecture, nc=len(names), verbose=False)
        network.names = dict(enumerate(names))
        path = tmp_path / f"{Path(architecture).stem}.pt"
        arguments = {"model": architecture, "data": "/somewhere/coco.yaml", "imgsz": 640}
        path.write_bytes(checkpoint_bytes(network.half() if half else network, arguments, {"version": "8.3.0"}))
        return path

    return write


def arguments(**changes: Any) -> dict[str, Any]:
    content = {**VALUES, "epochs": 1, "imgsz": 64, "batch": 8, "device": "cpu", **changes}
    return params_file.validate(content).training()


def rows(network: Any, branch: str = "cv3") -> list[tuple[Any, Any]]:
    """The weights and biases of the last layer of a class branch, by level."""
    return [(level[-1].weight, level[-1].bias) for level in getattr(network.model[-1], branch)]


def same_row(new: tuple[Any, Any], place: int, old: tuple[Any, Any], source: int) -> bool:
    return bool(torch.equal(new[0][place], old[0][source]) and torch.equal(new[1][place], old[1][source]))


@pytest.mark.parametrize("half", [True, False])
def test_the_row_of_a_class_is_kept_bit_by_bit(weights: Weights, half: bool) -> None:
    path = weights(half=half)
    start = start_from(str(path), "keep", ["Person"])
    assert start.kept == ("Person",)
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    assert new.names == {0: "Person"}
    for before, after in zip(rows(old), rows(new), strict=True):
        assert after[0].shape == (1, 80, 1, 1)
        assert same_row(after, 0, before, 0)
    kept = torch.load(start.model, map_location="cpu", weights_only=False)
    assert next(kept["model"].parameters()).dtype == (torch.float16 if half else torch.float32)
    assert "data" not in kept["train_args"]
    assert kept["train_args"]["model"] == "yolov8n.yaml"


def test_two_classes_are_put_in_the_order_of_the_data(weights: Weights) -> None:
    path = weights()
    start = start_from(str(path), "keep", ["toothbrush", "person"])
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    for before, after in zip(rows(old), rows(new), strict=True):
        assert same_row(after, 0, before, 79)
        assert same_row(after, 1, before, 0)


def test_a_class_that_the_model_does_not_know_starts_new_and_by_the_seed(weights: Weights) -> None:
    path = weights()
    first = start_from(str(path), "keep", ["unicorn", "person"])
    assert first.kept == ("person",)
    assert start_from(str(path), "keep", ["unicorn", "person"]).model == first.model
    other = start_from(str(path), "keep", ["unicorn", "person"], seed=1)
    assert other.model != first.model
    old = load_checkpoint(str(path))[0]
    one, two = load_checkpoint(first.model)[0], load_checkpoint(other.model)[0]
    for before, after, again in zip(rows(old), rows(one), rows(two), strict=True):
        assert same_row(after, 1, before, 0)
        assert not any(same_row(after, 0, before, source) for source in range(80))
        assert not torch.equal(after[0][0], again[0][0])
    assert start_from(str(path), "keep", ["person"]).model == start_from(str(path), "keep", ["person"], seed=1).model


def test_a_map_names_the_classes_of_the_model(weights: Weights) -> None:
    path = weights(names=["Normal", "Fall"])
    start = start_from(str(path), {"person": "normal"}, ["person"])
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    for before, after in zip(rows(old), rows(new), strict=True):
        assert same_row(after, 0, before, 0)
    both = start_from(str(path), {"person": ["Normal", "Fall"]}, ["person"])
    assert both.kept == ("person",)
    assert both.model != start.model
    many = load_checkpoint(start_from(str(path), {"near": "Normal", "far": "Normal"}, ["near", "far"]).model)[0]
    for before, after in zip(rows(old), rows(many), strict=True):
        assert same_row(after, 0, before, 0)
        assert same_row(after, 1, before, 0)


@pytest.mark.parametrize(
    ("head_value", "message"),
    [
        ({"person": "Norml"}, "head: person: 'Norml' is not a class of w.pt, which has Normal, Fall"),
        ({"person": ["Fall", "Up"]}, "head: person: 'Up' is not a class of w.pt"),
    ],
)
def test_a_name_that_the_model_does_not_have_is_refused(head_value: Any, message: str) -> None:
    with pytest.raises(Failure, match=message):
        class_rows(head_value, ["person"], ["Normal", "Fall"], "w.pt")


def test_a_long_list_of_names_is_cut() -> None:
    with pytest.raises(Failure, match=r"thing 9 and 70 more$"):
        class_rows({"person": "nobody"}, ["person"], COCO, "w.pt")


def test_the_first_of_two_classes_of_one_name_counts() -> None:
    assert class_rows("keep", ["A"], ["b", "a", " a "], "w.pt") == [[1]]


def test_head_new_and_unknown_classes_leave_the_file_as_it_is(weights: Weights) -> None:
    path = weights()
    new = start_from(str(path), "new", ["person"])
    assert (new.model, new.kept, new.remap) == (str(path), (), False)
    unknown = start_from(str(path), "keep", ["unicorn"])
    assert (unknown.model, unknown.kept, unknown.remap) == (str(path), (), True)
    assert start_from("yolov8n.yaml", "keep", ["person"]).model == "yolov8n.yaml"
    assert not head.CACHE.exists()


@pytest.mark.parametrize(
    ("model_classes", "classes", "head_value"),
    [
        (["Normal"], ["person"], "keep"),
        (["person"], ["person"], "new"),
        (["person", "car"], ["car", "person"], "new"),
    ],
)
def test_with_as_many_classes_the_rows_are_new_too(
    weights: Weights, model_classes: list[str], classes: list[str], head_value: str
) -> None:
    """Ultralytics would copy them by their place."""
    path = weights(names=model_classes)
    start = start_from(str(path), head_value, classes)
    assert start.kept == ()
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    assert new.names == dict(enumerate(classes))
    for before, after in zip(rows(old), rows(new), strict=True):
        for place in range(len(classes)):
            assert not any(same_row(after, place, before, source) for source in range(len(model_classes)))


def test_the_same_weights_in_another_folder_give_the_same_file_without_paths(weights: Weights, tmp_path: Path) -> None:
    path = weights()
    other = tmp_path / "elsewhere" / path.name
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    first = Path(start_from(str(path), "keep", ["person"]).model)
    content = first.read_bytes()
    first.unlink()
    second = Path(start_from(str(other), "keep", ["person"]).model)
    assert (second, second.read_bytes()) == (first, content)
    assert not hasattr(torch.load(first, map_location="cpu", weights_only=False)["model"], "pt_path")


def test_rows_go_by_the_number_of_a_class_and_numbers_too_large_for_half_stay(weights: Weights) -> None:
    path = weights(names=["person", "car"])
    content = torch.load(path, map_location="cpu", weights_only=False)
    content["model"].names = {1: "car", 0: "person"}
    content["model"].float().model[0].bn.running_var.fill_(1e5)
    torch.save(content, path)
    start = start_from(str(path), "keep", ["person"])
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    assert all(same_row(after, 0, before, 0) for before, after in zip(rows(old), rows(new), strict=True))
    assert new.model[0].bn.running_var.max() == 1e5


@pytest.mark.parametrize("architecture", ["yolov8n.yaml", "yolo11n.yaml", "yolov10n.yaml", "yolo26n.yaml"])
def test_every_branch_of_every_detector_is_kept_and_predicts(weights: Weights, architecture: str) -> None:
    path = weights(architecture)
    start = start_from(str(path), "keep", ["person", "car"])
    old, new = load_checkpoint(str(path))[0], load_checkpoint(start.model)[0]
    branches = [name for name in ("cv3", "one2one_cv3") if getattr(new.model[-1], name, None) is not None]
    assert len(branches) == (2 if architecture in ("yolov10n.yaml", "yolo26n.yaml") else 1)
    for branch in branches:
        for before, after in zip(rows(old, branch), rows(new, branch), strict=True):
            assert same_row(after, 0, before, 0)
            assert same_row(after, 1, before, 2)
    predicted = YOLO(start.model).predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, conf=0.0, verbose=False)[0]
    assert predicted.names == {0: "person", 1: "car"}
    assert set(predicted.boxes.cls.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("head_value", ["keep", "new"])
@pytest.mark.parametrize("architecture", ["yolov8n-seg.yaml", "yolov8n-pose.yaml", "yolov8n-cls.yaml"])
def test_another_kind_of_head_is_refused_in_one_line(weights: Weights, architecture: str, head_value: str) -> None:
    path = weights(architecture, ["person"])
    with pytest.raises(Failure, match=r"\.pt ends in a (Segment|Pose|Classify), which is not the head of a detector"):
        start_from(str(path), head_value, ["person"])


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"no weights")
    with pytest.raises(Failure, match=r"mine.pt cannot be read as weights of Ultralytics"):
        start_from(str(path), "keep", ["person"])


def test_a_training_starts_from_the_kept_rows_and_names_the_users_model(
    weights: Weights, data: Path, tmp_path: Path
) -> None:
    """For one class YOLOv8n's class branch would be narrower than for eighty: it must keep its width too."""
    path = weights()
    start = start_from(str(path), "keep", ["person"])
    trainer = Trainer(
        overrides={"model": start.model, "data": str(data / "data.yaml"), "device": "cpu", "project": str(tmp_path)}
    )
    trainer.setup_model()
    before, after = load_checkpoint(str(path))[0].state_dict(), trainer.model.state_dict()
    assert before.keys() == after.keys()
    for key, value in after.items():
        assert torch.equal(value, before[key] if value.shape == before[key].shape else before[key][:1]), key
    result = train(arguments(model=str(path)), data, tmp_path / "out")
    trained = torch.load(result.model, map_location="cpu", weights_only=False)
    assert trained["train_args"]["model"] == "yolov8n.pt"
    assert "head" not in trained["train_args"]
    assert trained["model"].names == {0: "person"}
    again = start_from(str(result.model), "keep", ["person"])
    assert again.kept == ("person",)


def test_head_new_draws_the_rows_as_ultralytics_does(weights: Weights, data: Path, tmp_path: Path) -> None:
    path = weights()
    ours = train(arguments(model=str(path), head="new"), data, tmp_path / "ours")
    rest = {key: value for key, value in arguments().items() if key not in ("model", "head")}
    bare = Trainer(
        overrides={
            **rest, "model": str(path), "cls_remap": False, "data": str(data / "data.yaml"), "plots": False,
            "project": str(tmp_path / "bare"), "name": "run",
        }
    )  # fmt: skip
    bare.train()
    theirs = torch.load(tmp_path / "bare" / "run" / "weights" / "best.pt", map_location="cpu", weights_only=False)
    mine = torch.load(ours.model, map_location="cpu", weights_only=False)
    for one, other in zip(mine["model"].parameters(), theirs["model"].parameters(), strict=True):
        assert torch.equal(one, other)
    kept = train(arguments(model=str(path)), data, tmp_path / "kept")
    assert kept.model.read_bytes() != ours.model.read_bytes()
