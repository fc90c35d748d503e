"""The model card: what it says of a trained model, of a pretrained one, and of the recommended one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.decision.confirmation import Confirmation, Repeat, Setting
from stages.decision.verdict import decide
from stages.detector.as_is import AsIs
from stages.params import file as params_file
from stages.report.card import card_of_decision, card_of_workspace
from tests.helpers.project import SOURCE
from tests.helpers.study_tables import DATA

SUMMARY = {**DATA, "classes": ["person"]}
TESTED = {
    "mAP50": 0.72774,
    "mAP50-95": 0.29334,
    "ms_per_image": 13.1,
    "threshold": 0.29868,
    "precision_at_threshold": 0.68085,
    "recall_at_threshold": 0.63576,
    "mAP50_small": 0.66337,
    "lost_missed": 0.0,
    "lost_localisation": 7.81893,
}


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    for stage, metrics in {"train": {"mAP50": 0.724, "train_seconds": 47.9}, "evaluate": TESTED}.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return tmp_path


def workspace_card(reports: Path, **changes: Any) -> str:
    return card_of_workspace({**params_file.read(SOURCE / "params.yaml"), **changes}, SUMMARY, reports)


def test_the_card_of_the_workspace_says_what_the_model_is_how_good_and_how_to_load_it(reports: Path) -> None:
    card = workspace_card(reports)
    assert "The network is yolov8n.yaml, trained from random weights." in card
    assert 'YOLO("models/best.pt").predict("photo.jpg", imgsz=160, conf=0.299)' in card
    assert "| mAP50 of small objects" in card
    assert "Errors cost localisation 7.8, missed 0.0 (points" in card
    assert "On photographs. It has seen drawn figures only" in card
    assert "lr0 0.002" in card
    assert "48 s of training. mAP50 on the validation split 0.724." in card
    assert "One training with one seed (n = 1)." in card
    assert "\n\n\n" not in card


def test_the_licence_and_the_warning_follow_the_source_of_the_data(reports: Path) -> None:
    data = params_file.read(SOURCE / "params.yaml")["data"]
    card = workspace_card(reports, model="yolov8n.pt", data={**data, "source": "coco128"})
    assert "fine-tuned from pretrained weights" in card
    assert "CC BY 4.0" in card
    assert "drawn figures" not in card
    own = workspace_card(reports, data={**data, "source": "yolo"})
    assert "The licence of the pictures is that of their owner." in own


def test_the_card_of_a_decision_is_of_the_recommended_model_with_the_interval_of_its_setting() -> None:
    settings = [Setting("best", "tune-000000-001", {"epochs": 5, "lr0": 0.001}, 0.8, 50.0)]
    repeats = [
        Repeat("best", f"confirm-000000-s{seed}", seed, 0.8 + seed / 100, 0.79 + seed / 100, 50.0, 9.0, metrics=TESTED)
        for seed in (1, 2, 3)
    ]
    decision = decide(Confirmation(settings, repeats, {}))
    params = params_file.load(SOURCE / "params.yaml")
    card = card_of_decision(decision, params, SUMMARY, None)
    assert "The results belong to the run confirm-000000-s3" in card
    assert "`dvc exp apply confirm-000000-s3`" in card
    assert "epochs 5" in card
    assert "seed 3" in card
    assert "The setting of this model has mAP50 0.810 (95 % interval" in card
    assert card_of_decision(replace(decision, recommended=None, model=None), params, SUMMARY, None) == ""


def test_a_pretrained_model_without_training_has_no_training_parameters(tmp_path: Path) -> None:
    as_is = AsIs("yolov8n.pt", "keep", tmp_path / "w.pt", "0" * 64, 320, ("person",), 0.55, 0.6, 9.0)
    settings = [Setting("best", "tune-000000-001", {"epochs": 5}, 0.5, 50.0)]
    repeats = [Repeat("best", f"confirm-000000-s{seed}", seed, 0.5, 0.5 + seed / 100, 50.0, 9.0) for seed in (1, 2, 3)]
    decision = decide(Confirmation(settings, repeats, {}), as_is)
    card = card_of_decision(decision, params_file.load(SOURCE / "params.yaml"), SUMMARY, as_is)
    assert "used with pretrained weights, without further training" in card
    assert "None: the weights are those of yolov8n.pt." in card
    assert "imgsz=320" in card
    assert "| mAP50" in card
    assert "which has the same name in MLflow" in card
    assert "dvc exp apply" not in card, "it is no experiment"
    assert "`head: keep` keeps. The version in MLflow has them" in card
    assert decision.model is not None
    chosen = replace(decision, model=replace(decision.model, metrics={**decision.model.metrics, "threshold": 0.41}))
    assert "conf=0.410" in card_of_decision(chosen, params_file.load(SOURCE / "params.yaml"), SUMMARY, as_is)
