"""params.yaml: the schema, the file and dvc.yaml agree, and a mistake gives a message of one line."""

from __future__ import annotations

import copy
import reprlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.base.failures import BadParams
from stages.data.sources import check_source
from stages.detector.arguments import check_arguments
from stages.params import file as params_file
from stages.params.schema import GROUPS, Data, Evaluate, Export, Params, Split, Tune
from tests.helpers.project import SOURCE

VALUES = params_file.read(SOURCE / "params.yaml")


def checked(content: dict[str, Any]) -> Params:
    """Return valid parameters, as stage check finds them valid."""
    params = params_file.validate(content)
    check_source(params)
    check_arguments(params)
    return params


def with_value(key: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(VALUES)
    group = content
    *groups, last = key.split(".")
    for name in groups:
        group = group[name]
    group[last] = value
    return content


def test_the_committed_file_is_valid() -> None:
    assert params_file.load(SOURCE / "params.yaml", SOURCE / "dvc.yaml").epochs == VALUES["epochs"]


def test_file_and_schema_have_the_same_keys() -> None:
    assert list(VALUES) == list(Params.model_fields)
    assert list(VALUES["data"]) == list(Data.model_fields)
    assert list(VALUES["evaluate"]) == list(Evaluate.model_fields)
    assert list(VALUES["export"]) == list(Export.model_fields)
    assert list(VALUES["tune"]) == list(Tune.model_fields)
    assert list(VALUES["data"]["split"]) == list(Split.model_fields)


def test_dvc_yaml_lists_what_each_stage_reads() -> None:
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    training = [key for key in Params.model_fields if key not in GROUPS]
    assert stages["train"]["params"] == training
    assert stages["prepare"]["params"] == ["data"]
    assert set(stages["evaluate"]["params"]) <= {*training, "evaluate"}
    assert set(stages["export"]["params"]) <= {*training, "export"}
    assert stages["check"]["params"] == [{"params.yaml": None}]


def test_every_line_of_the_file_says_why() -> None:
    lines = (SOURCE / "params.yaml").read_text(encoding="utf-8").splitlines()
    bare = [line for line in lines if ":" in line and "#" not in line and not line.endswith("data:")]
    assert bare == []


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("epochs", "abc", "a whole number from 1"),
        ("epochs", 0, "a whole number from 1"),
        ("epochs", 2.5, "a whole number from 1"),
        ("epochs", True, "a whole number from 1"),
        ("imgsz", 100_000, "a multiple of 32"),
        ("imgsz", 100, "a multiple of 32"),
        ("lr0", -1, "a number over 0"),
        ("lr0", float("nan"), "a number over 0"),
        ("mosaic", 1.5, "a number from 0 to 1"),
        ("optimizer", "adam", "AdamW"),
        ("device", "gpu", "GPU numbers"),
        ("device", "0,", "GPU numbers"),
        ("device", True, "GPU numbers"),
        ("device", 10**30, "GPU numbers"),
        ("model", "yolov8n", ".pt file"),
        ("head", "kept", "keep, new, or a map"),
        ("head", 3, "keep, new, or a map"),
        ("seed", -1, "a whole number from 0"),
        ("data.source", "nope", "synthetic, coco128, yolo or coco"),
        ("data.on_error", "ignore", "stop or skip"),
        ("data.url", "ftp://somewhere/coco128.zip", "http"),
        ("data.split.train", 1.5, "a fraction"),
        ("data.imgsz", 8, "pixels from 32"),
        ("data.background", "yes", "true or false"),
        ("data.classes", [], "at least one"),
        ("evaluate.threshold", "f2", "f1, or one of {precision: 0.9}"),
        ("evaluate.threshold", 0.4, "f1, or one of {precision: 0.9}"),
        ("evaluate.threshold", None, "f1, or one of {precision: 0.9}"),
        ("evaluate.threshold", {}, "f1, or one of {precision: 0.9}"),
        ("evaluate.threshold", {"precision": 0.9, "recall": 0.9}, "one of {precision: 0.9} and {recall: 0.9}"),
        ("export.formats", "onnx", "a list of onnx, openvino and torchscript"),
        ("export.formats", None, "or [] to export nothing"),
        ("export.formats", ["onnx", "onnx"], "names one format twice"),
        ("tune.trials", 0, "a whole number from 1"),
        ("tune.timeout", -1, "seconds over 0"),
        ("tune.workers", 0, "a whole number from 1"),
        ("tune.sampler", "grid", "auto, gp, tpe or random"),
        ("tune.pruner", "asha", "forecast, median, hyperband or none"),
        ("tune.space", {}, "at least one training key"),
        ("tune.space.epochs", 3, "{low, high}"),
        ("tune.space.epochs.low", "two", "a number"),
    ],
)
def test_a_wrong_value_is_one_line_with_key_value_and_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(BadParams) as caught:
        checked(with_value(key, value))
    line = str(caught.value)
    assert key in line
    assert reprlib.repr(value) in line
    assert allowed in line
    assert "\n" not in line


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(
        BadParams, match=r"export\.formats: 'engine' is not allowed; it must be a list of onnx, openvino"
    ):
        checked(with_value("export.formats", ["onnx", "engine"]))


@pytest.mark.parametrize("least", [0, 1.5, "0.9", True, None])
@pytest.mark.parametrize("name", ["precision", "recall"])
def test_a_precision_or_recall_out_of_range_is_one_line(name: str, least: Any) -> None:
    with pytest.raises(BadParams) as caught:
        checked(with_value("evaluate.threshold", {name: least}))
    line = str(caught.value)
    assert line.startswith("params.yaml: evaluate.threshold: ")
    assert "is not allowed; it must be f1, or one of {precision: 0.9} and {recall: 0.9}" in line
    assert "\n" not in line
    assert line.count("is not allowed") == 1


def test_an_unknown_measure_of_the_threshold_is_one_line() -> None:
    with pytest.raises(BadParams, match=r"evaluate\.threshold: .*is not allowed; it must be f1, or one of") as caught:
        checked(with_value("evaluate.threshold", {"f1": 0.9}))
    assert str(caught.value).count("is not allowed") == 1


@pytest.mark.parametrize("threshold", ["f1", {"precision": 0.9}, {"recall": 1}])
def test_the_threshold_may_be_chosen_by_f1_precision_or_recall(threshold: Any) -> None:
    assert checked(with_value("evaluate.threshold", threshold)).evaluate.threshold == threshold


@pytest.mark.parametrize("device", [None, "cpu", "mps", 0, -1, "0", "0,1"])
def test_every_device_of_ultralytics_is_allowed(device: Any) -> None:
    assert checked(with_value("device", device)).device == device


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": {"persn": "Normal"}}, "head: 'persn' is not a class of data.classes, which has person"),
        ({"head": {"person": []}}, "head: .* is not allowed; it must be keep, new, or a map"),
        ({"cls_remap": False}, "cls_remap: set by this project"),
        ({"data.source": "yolo"}, "path is null; source yolo needs the folder"),
        ({"data.source": "coco", "data.path": "images"}, "annotations is null"),
        ({"data.classes": ["dog"]}, "cannot come from source synthetic"),
        ({"data.source": "yolo", "data.path": "x", "data.classes": ["a", "a"]}, "twice"),
        ({"data.split": {"train": 0.5, "val": 0.3, "test": 0.3}}, "add up to 1"),
        ({"data.split": {"train": 10, "val": 0.3, "test": 0.3}}, "three whole numbers, three fractions"),
        ({"data.split": {"train": 10, "val": None, "test": None}}, "three whole numbers, three fractions"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    content = copy.deepcopy(VALUES)
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        (content[group] if group else content)[name] = value
    with pytest.raises(BadParams, match=message):
        checked(content)


def test_a_key_with_several_forms_has_one_message() -> None:
    with pytest.raises(BadParams) as caught:
        checked(with_value("head", {"person": 5}))
    assert str(caught.value).count("is not allowed") == 1


def test_every_wrong_key_is_named_at_once() -> None:
    content = {**with_value("data.seed", -3), "epochs": "abc"}
    with pytest.raises(BadParams, match=r"epochs.*data\.seed"):
        checked(content)


def test_a_missing_key_is_named() -> None:
    content = {key: value for key, value in VALUES.items() if key != "lr0"}
    with pytest.raises(BadParams, match="lr0: missing"):
        checked(content)


@pytest.mark.parametrize("key", [1, None, True])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    for content in ({**VALUES, key: 2}, {**VALUES, "data": {**VALUES["data"], key: 2}}):
        with pytest.raises(BadParams, match=r"params\.yaml: "):
            checked(content)


@pytest.mark.parametrize("key", ["epoch", "learning_rate", "data.clases"])
def test_an_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(BadParams, match=rf"{key}: not a key of this project"):
        checked(with_value(key, 3))


def test_an_argument_of_ultralytics_is_allowed_and_passed_on() -> None:
    params = checked({**VALUES, "degrees": 10.0, "cos_lr": True})
    assert params.training()["degrees"] == 10.0
    assert params.training()["cos_lr"] is True
    assert "data" not in params.training()


@pytest.mark.parametrize(
    ("key", "value"),
    [("hsv_h", 3.0), ("patience", "long"), ("cos_lr", 3), ("box", float("nan")), ("patience", True), ("workers", -5)],
)
def test_an_argument_of_ultralytics_is_checked_by_its_own_rules(key: str, value: Any) -> None:
    with pytest.raises(BadParams, match=key):
        checked({**VALUES, key: value})


@pytest.mark.parametrize("key", ["time", "plots", "project", "resume"])
def test_an_argument_that_this_project_sets_is_refused(key: str) -> None:
    with pytest.raises(BadParams, match=rf"{key}: (set by this project|not a key)"):
        checked({**VALUES, key: "x"})


def test_an_added_argument_must_be_listed_in_dvc_yaml(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text((SOURCE / "params.yaml").read_text(encoding="utf-8") + "\ndegrees: 5.0\n", encoding="utf-8")
    with pytest.raises(BadParams, match="degrees: not among the params of stage train"):
        params_file.load(file, SOURCE / "dvc.yaml")


def test_an_argument_that_does_not_exist_is_not_told_to_be_listed_in_dvc_yaml(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((SOURCE / "params.yaml").read_text(encoding="utf-8") + "\nepoch: 5\n", encoding="utf-8")
    with pytest.raises(BadParams, match=r"^mine.yaml: epoch: not a key of this project"):
        params_file.load(file, SOURCE / "dvc.yaml", check_arguments)


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("lr0: 1e-3\n", encoding="utf-8")
    assert params_file.read(file) == {"lr0": 0.001}


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", "\xff", "a: 2020-13-45", "a: !!int abc"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadParams, match=r"params\.yaml: (not valid YAML|must be a mapping)"):
        params_file.read(file)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"epochs": {"low": 5, "high": 2}}, "tune.space.epochs: low 5 is over high 2"),
        ({"epochs": {"low": 2.0, "high": 5}}, "epochs: 2.0 is not allowed; it must be a whole number"),
        ({"epochs": {"low": 2}}, "needs low and high, or choices"),
        ({"epochs": {"low": 2, "high": 5, "choices": [3]}}, "choices cannot be combined"),
        ({"epochs": {"choices": [3, 3]}}, "contain one value twice"),
        ({"epochs": {"lo": 2, "high": 5}}, "tune.space.epochs.lo: not a key"),
        ({"imgsz": {"low": 128, "high": 160}}, "imgsz: 129 is not allowed; it must be a multiple of 32"),
        ({"imgsz": {"choices": [100]}}, "imgsz: 100 is not allowed"),
        ({"lr0": {"low": 0.0, "high": 0.1, "log": True}}, "log needs a low over 0, not 0.0"),
        ({"lr0": {"low": 0.001, "high": 0.1, "log": True, "step": 0.01}}, "log and step exclude each other"),
        ({"lr0": {"low": 0.001, "high": 0.1, "step": 1}}, "step 1 does not fit"),
        ({"lr0": {"low": 0.001, "high": float("inf")}}, "must be finite"),
        ({"optimizer": {"choices": ["SGD", "Adamm"]}}, "optimizer: 'Adamm' is not allowed"),
        ({"degrees": {"low": 0.0, "high": 10.0}}, "tune.space.degrees: not a training key of params.yaml"),
        ({"data": {"choices": [1, 2]}}, "tune.space.data: not a training key"),
        ({"seed": {"low": 0, "high": 5}}, "the best seed is luck"),
        ({"device": {"choices": ["cpu", 0]}}, "it says where a training runs"),
    ],
)
def test_a_space_that_is_wrong_is_one_line(space: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParams) as caught:
        checked(with_value("tune.space", space))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "space",
    [
        {"epochs": {"low": 2, "high": 5}, "imgsz": {"choices": [128, 160]}},
        {"imgsz": {"low": 128, "high": 320, "step": 64}},
        {"optimizer": {"choices": ["SGD", "AdamW"]}, "model": {"choices": ["yolov8n.yaml", "yolov8s.yaml"]}},
        {"lr0": {"low": 1, "high": 1}},
    ],
)
def test_a_space_may_hold_any_training_key(space: dict[str, Any]) -> None:
    assert set(checked(with_value("tune.space", space)).tune.space) == set(space)


def test_the_classic_space_stands_in_the_file_as_a_comment() -> None:
    lines = (SOURCE / "params.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("  # space:")
    classic = yaml.safe_load("\n".join(line.replace("  # ", "", 1) for line in lines[start:]))["space"]
    assert classic == {"epochs": {"low": 2, "high": 5}, "imgsz": {"choices": [128, 160]}}
    checked(with_value("tune.space", classic))


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://ann:secret@host/db",
        "postgresql://host/db?password=secret",
        "postgresql://ann:pa@ss:secret@host/db",
        "postgresql://host:secret/db",
        "no url",
    ],
)
def test_a_storage_with_a_password_or_without_sense_is_refused_and_not_repeated(storage: str) -> None:
    with pytest.raises(BadParams) as caught:
        checked(with_value("tune.storage", storage))
    assert "storage" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_hyperband_does_not_compare_trainings_of_unequal_length() -> None:
    with pytest.raises(BadParams, match="hyperband compares trials of equal length"):
        checked(with_value("tune.pruner", "hyperband"))


def test_nbs_may_follow_batch() -> None:
    assert checked({**VALUES, "nbs": "batch", "batch": 16}).training()["nbs"] == 16
    assert checked({**VALUES, "nbs": 64, "batch": 16}).training()["nbs"] == 64


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.path", ""),
        ("data.classes", ["person", " "]),
        ("tune.space", {"lr0": {"low": 0.001, "high": 10**400}}),
        ("tune.space", {"lr0": {"choices": [1, 1.0]}}),
        ("tune.space", {"lr0": {"low": 0.12341, "high": 0.2}}),
    ],
)
def test_what_would_be_read_in_another_way_is_refused(key: str, value: Any) -> None:
    with pytest.raises(BadParams, match=key.rpartition(".")[2]):
        checked(with_value(key, value))
