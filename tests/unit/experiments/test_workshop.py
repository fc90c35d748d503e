"""The texts that a trial is made of: params.yaml and dvc.lock with other values, and names."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.experiments.lock import edited_lock, parse_lock
from stages.experiments.names import is_study, study_of, trial_name
from stages.params.file import read, with_values
from tests.helpers.project import SOURCE

PARAMS = (SOURCE / "params.yaml").read_text(encoding="utf-8")
LOCK = (SOURCE / "dvc.lock").read_text(encoding="utf-8")


def test_other_values_change_their_lines_and_nothing_else() -> None:
    text = with_values(PARAMS, {"epochs": 5, "lr0": 0.000748, "imgsz": 128})
    changed = [(old, new) for old, new in zip(PARAMS.splitlines(), text.splitlines(), strict=True) if old != new]
    assert [new.split("#")[0].split() for _, new in changed] == [
        ["epochs:", "5"],
        ["imgsz:", "128"],
        ["lr0:", "0.000748"],
    ]
    assert [old.partition("#")[2] for old, _ in changed] == [new.partition("#")[2] for _, new in changed]
    assert with_values(PARAMS, {}) == PARAMS


@pytest.mark.parametrize("value", [None, True, "AdamW", 1e-05, 0.1, 3])
def test_a_value_is_read_as_it_was_written(value: object, tmp_path: Path) -> None:
    text = with_values("key: 0  # why\n", {"key": value})
    file = tmp_path / "params.yaml"
    file.write_text(text, encoding="utf-8")
    assert read(file) == {"key": value}


def test_an_edited_lock_keeps_its_form_and_has_the_new_values() -> None:
    assert edited_lock(LOCK, {}) == LOCK
    text = edited_lock(LOCK, {"epochs": 77, "lr0": 1e-05}, keep=("check", "prepare"))
    lock = parse_lock(text)
    assert set(lock) == {"check", "prepare"}
    assert lock["check"]["params"]["params.yaml"]["epochs"] == 77
    assert lock["check"]["params"]["params.yaml"]["lr0"] == 1e-05
    assert lock["prepare"] == parse_lock(LOCK)["prepare"]


@pytest.mark.parametrize("text", ["", "stages", "a: [", "stages: 3\n"])
def test_another_text_is_not_a_lock(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a dvc\.lock"):
        parse_lock(text)


def test_the_name_of_a_trial_has_its_study_and_number() -> None:
    assert trial_name("tune-0a1b2c", 7) == "tune-0a1b2c-007"
    assert study_of("tune-0a1b2c-007") == ("tune-0a1b2c", 7)
    assert study_of("tune-0a1b2c-1234") == ("tune-0a1b2c", 1234)
    assert is_study("tune-0a1b2c")
    for other in ("tune-0a1b2c", "lathy-aces", "tune-0a1b2c-07", "tune-xyz123-007", ""):
        assert study_of(other) is None
    assert not is_study("tune-0a1b2c-007")
