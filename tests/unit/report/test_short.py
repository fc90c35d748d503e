"""The short report: its numbers, and its text without a study."""

from __future__ import annotations

import re
from typing import Any

from stages.experiments.identity import code_digests, digest_of
from stages.report.short import short_report

STUDY: dict[str, Any] = {
    "name": "tune-0a1b2c",
    "data": "digest",
    "code": digest_of(code_digests()),
    "fixed": {"seed": 0},
    "trials": {"complete": 10, "pruned": 3, "fail": 2},
    "start": {"params": {"epochs": 4, "lr0": 0.002}, "mAP50": 0.724},
    "best": {"number": 7, "name": "tune-0a1b2c-007", "params": {"epochs": 5, "lr0": 0.001}, "mAP50": 0.8},
}
TEST = {"mAP50": 0.79}


def test_it_shows_the_best_the_baseline_and_the_test_split() -> None:
    text = short_report(STUDY, {"epochs": 5, "lr0": 0.001, "seed": 0}, "digest", TEST, {"mAP50": 0.73})
    assert "Study tune-0a1b2c has 13 finished trials" in text
    assert "trial 7 (tune-0a1b2c-007), has mAP50 0.800 on the validation split" in text
    assert "its baseline has 0.724 (+0.076)" in text
    assert re.search(r"\| lr0 +\| +0.002 \| +0.001 \|", text)
    assert "mAP50 0.790 (at the last commit 0.730, +0.060)." in text


def test_it_shows_the_pretrained_model_without_training() -> None:
    text = short_report({}, {"model": "yolov8n.pt"}, "digest", TEST, None, as_is=0.6)
    assert "mAP50 0.790; yolov8n.pt without training has 0.600 (+0.190), n = 1." in text


def test_it_says_when_the_model_is_not_the_studys_best() -> None:
    edited = short_report(STUDY, {"epochs": 3, "lr0": 0.001, "seed": 0}, "digest", TEST, None)
    assert "These parameters are not the best ones of the study" in edited
    for params, data in (({"seed": 1}, "digest"), ({"seed": 0}, "other")):
        other = short_report(STUDY, {"epochs": 5, "lr0": 0.001, **params}, data, TEST, None)
        assert "The study used other data or other fixed parameters" in other
    other = short_report({**STUDY, "code": "0a1b2c"}, {"epochs": 5, "lr0": 0.001, "seed": 0}, "digest", TEST, None)
    assert "The study was trained by other code" in other


def test_without_a_study_or_a_complete_trial_it_says_how_to_begin() -> None:
    for study in ({}, {**STUDY, "best": None}):
        text = short_report(study, {}, "digest", TEST, None)
        assert "mAP50 0.790, n = 1." in text
        assert "`dvc exp run tune` runs a study" in text


def test_a_damaged_study_is_named() -> None:
    text = short_report({}, {}, "digest", TEST, None, "reports/study/study.json cannot be read (ValueError)")
    assert "reports/study/study.json cannot be read (ValueError): `dvc exp run tune` runs a study" in text
