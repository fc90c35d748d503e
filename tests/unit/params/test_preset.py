"""Presets: the values that they write to params.yaml, the keys that they leave unchanged, and their checks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stages.base.failures import BadParams
from stages.detector import fine_tuning
from stages.params import file as params_file
from stages.params import preset
from stages.params.preset import changes, presets, with_preset
from stages.params.schema import GROUPS, Params
from tests.helpers.project import SOURCE, make_project

TEXT = (SOURCE / "params.yaml").read_text(encoding="utf-8")


def text_of(name: str) -> str:
    return (SOURCE / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def test_the_committed_file_is_the_preset_drawn() -> None:
    assert with_preset(TEXT, text_of("drawn")) == TEXT


@pytest.mark.parametrize(("name", "others"), [("tiny_coco", []), ("finetune", ["data.path=photos"])])
def test_every_preset_is_valid_and_drawn_restores_the_file(name: str, others: list[str]) -> None:
    changed = with_preset(TEXT, text_of(name), others)
    params = params_file.validate(params_file.parsed(changed, "params.yaml"))
    assert params.model == "yolov8n.pt"
    assert params.lr0 <= fine_tuning.SAFE_LR0
    assert fine_tuning.risk(params) == ""
    assert with_preset(changed, text_of("drawn"), ["data.path=null"] if others else []) == TEXT


@pytest.mark.parametrize("name", sorted(path.stem for path in (SOURCE / "presets").glob("*.yaml")))
def test_all_presets_set_the_same_keys_and_say_what_they_are_for(name: str) -> None:
    drawn, other = params_file.parsed(text_of("drawn"), "drawn"), params_file.parsed(text_of(name), name)
    assert list(other) == list(drawn)
    assert presets()[name].endswith((".", "]'"))
    bare = [line for line in text_of(name).partition("tune:")[2].splitlines() if line and "#" not in line]
    assert bare == []


def test_comments_and_other_keys_stay() -> None:
    mine = TEXT.replace("trials: 16 ", "trials: 40 ").replace("seed: 0  ", "seed: 7  ", 1)
    changed = with_preset(mine, text_of("tiny_coco"))
    assert "trials: 40 " in changed
    assert "seed: 7  " in changed
    kept = [line.partition("#")[2] for line in changed.splitlines() if "#" in line and "tune" not in line]
    assert "learning rate at the start" in " ".join(kept)
    assert [
        line for line in changed.splitlines() if ":" in line and "#" not in line and not line.endswith("data:")
    ] == []


def test_each_changed_value_has_one_line() -> None:
    before = params_file.parsed(TEXT, "before")
    after = params_file.parsed(with_preset(TEXT, text_of("tiny_coco"), ["head={person: Normal}"]), "after")
    lines = list(changes(before, after))
    assert "model: yolov8n.yaml -> yolov8n.pt" in lines
    assert "head: keep -> {person: Normal}" in lines
    assert "tune.space.imgsz: {choices: [128, 160]} -> {choices: [320, 416]}" in lines
    assert not [line for line in lines if line.startswith(("optimizer", "nbs", "seed"))]
    assert list(changes(before, before)) == []


@pytest.mark.parametrize("other", ["data.path", "data.nothing=1", "nothing=1", "lr0.low=1", "=1"])
def test_a_further_value_must_be_a_key_of_the_file(other: str) -> None:
    with pytest.raises(BadParams, match=r"is not key=value with a key of params\.yaml"):
        with_preset(TEXT, text_of("drawn"), [other])


def test_the_command_writes_says_what_changed_and_changes_nothing_where_the_result_is_wrong(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repository", quick=True)
    before = project.text("params.yaml")
    command = (sys.executable, "-m", "stages", "preset")
    listed = project.run(*command).stdout
    assert all(name in listed for name in ("drawn", "tiny_coco", "finetune"))
    for arguments, message in (
        (["nothing"], "error: preset 'nothing' does not exist; the presets are drawn, finetune, tiny_coco"),
        (["finetune"], "error: preset finetune: data: path is null; source yolo needs the folder of the images"),
        (["drawn", "data.path=2024-13-45"], "error: 2024-13-45: not valid YAML"),
        (["drawn", "epochs=none"], "error: preset drawn: epochs: 'none' is not allowed; it must be a whole number"),
    ):
        done = project.run(*command, *arguments, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(message)
        assert project.text("params.yaml") == before
    for text, message in (
        ("model: [", "not valid YAML"),
        ("data: null", "data: must be a mapping"),
        ("[]", "a mapping"),
    ):
        (project.root / "params.yaml").write_text(text, encoding="utf-8")
        done = project.run(*command, "drawn", check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    (project.root / "params.yaml").write_text(before, encoding="utf-8")
    done = project.run(*command, "tiny_coco", "data.zip=photos.zip")
    assert "model: yolov8n.yaml -> yolov8n.pt" in done.stdout
    assert "`git checkout params.yaml` restores it" in done.stdout
    assert params_file.read(project.root / "params.yaml")["data"]["zip"] == "photos.zip"
    assert "already has the values of preset tiny_coco" in project.run(*command, "tiny_coco").stdout
    assert "which had other uncommitted changes" in project.run(*command, "drawn").stdout
    project.run("git", "checkout", "params.yaml")
    assert project.text("params.yaml") == before


def test_a_preset_names_no_key_that_dvc_does_not_watch() -> None:
    listed = params_file.stage_params(SOURCE / "dvc.yaml", "train")
    for name in presets():
        assert {key for key in preset.values_of(name) if key not in GROUPS} <= listed


def tiny_coco(**changes: object) -> Params:
    content = params_file.parsed(with_preset(TEXT, text_of("tiny_coco")), "params.yaml")
    return params_file.validate(content | changes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, ""),
        ({"model": "yolov8n.yaml", "lr0": 0.01}, ""),
        ({"lr0": 0.002}, "lr0 is 0.002: above"),
        ({"optimizer": "auto"}, "optimizer: auto chooses its own learning rate"),
        ({"optimizer": "SGD", "lr0": 0.002}, ""),
        (
            {
                "tune": {
                    **params_file.read(SOURCE / "params.yaml")["tune"],
                    "space": {"lr0": {"choices": [0.01, 0.002]}},
                }
            },
            "tune.space.lr0 begins at 0.002: above",
        ),
        ({"tune": {**params_file.read(SOURCE / "params.yaml")["tune"]}}, "tune.space.lr0 begins at 0.0005: above"),
    ],
)
def test_a_training_that_would_destroy_its_weights_has_a_warning(changed: dict[str, object], message: str) -> None:
    line = fine_tuning.risk(tiny_coco(**changed))
    assert line.startswith(message)
    assert bool(line) == bool(message)
    if message:
        assert "the preset tiny_coco has lr0 5e-05 and nbs batch" in line


def test_a_first_epoch_below_half_of_the_model_without_training_gives_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from stages.detector.as_is import AsIs
    from stages.detector.training import Epoch

    as_is = AsIs("yolov8n.pt", "keep", Path("w.pt"), "0" * 64, 320, ("person",), 0.6, 0.5, 9.0)
    listen = fine_tuning.watch({"lr0": 0.002, "nbs": 4}, as_is)
    listen(Epoch(1, 3, {"mAP50": 0.31}))
    listen(Epoch(2, 3, {"mAP50": 0.01}))
    assert capsys.readouterr().err == ""
    listen(Epoch(1, 3, {"mAP50": 0.29}))
    message = capsys.readouterr().err
    assert message.startswith(
        "warning: the pretrained weights are being destroyed: mAP50 is 0.290 after the first epoch"
    )
    assert "with lr0 0.002 and nbs 4; the preset tiny_coco has lr0 5e-05" in message
    assert message.count("\n") == 1
