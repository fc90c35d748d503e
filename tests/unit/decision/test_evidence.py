"""The tables of a study: without a study, and with a damaged one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.decision import evidence
from tests.helpers.study_tables import STUDY


def test_without_a_study_there_is_nothing_to_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert evidence.read(tmp_path) is None
    (tmp_path / "study.json").write_text("{}", encoding="utf-8")
    assert evidence.read(tmp_path) is None
    damages: list[dict[str, Any]] = [
        {"start": {}},
        {"space": {"lr0": None}},
        {"best": {"number": 1}},
        {"trials": []},
        {"importances": []},
    ]
    for changes in damages:
        (tmp_path / "study.json").write_text(json.dumps({**STUDY, **changes}), encoding="utf-8")
        with pytest.raises(evidence.Damaged, match=r"reports/study/study\.json cannot be read"):
            evidence.read(tmp_path)
    (tmp_path / "study.json").write_text("damaged", encoding="utf-8")
    with pytest.raises(evidence.Damaged):
        evidence.read(tmp_path)


def test_a_row_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps(STUDY), encoding="utf-8")
    (tmp_path / "trials.csv").write_text("number\n", encoding="utf-8")
    (tmp_path / "compared.csv").write_text("name,source\ngrid,grid,0.5\n", encoding="utf-8")
    read = evidence.read(tmp_path)
    assert read is not None
    assert read.missing[-1] == "compared.csv, line 2: this row cannot be read"
