"""A failure of MLflow: one warning, a note of the run, and no exception."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.tracking import missed
from stages.tracking.missed import note, noted
from stages.tracking.outage import tolerated


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "HOME", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:1")


def fail(*runs: str, is_silent: bool = False) -> None:
    with tolerated("{}; the run goes on", runs, is_silent):
        raise ConnectionError("no route")


def test_a_failure_is_printed_once_and_noted_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    note("able-cat", content="one")
    for _ in range(2):
        fail("able-cat", "studied")
    assert capsys.readouterr().err == (
        "warning: MLflow at http://***@127.0.0.1:1 cannot be used (no route); the run goes on\n"
    )
    assert noted("able-cat") == {"content": "one", "warned": True}
    assert noted("studied") == {"warned": True}


def test_only_the_first_run_decides_whether_a_warning_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    note("studied", warned=True)
    fail("able-cat", "studied")
    assert "no route" in capsys.readouterr().err


def test_without_a_run_each_failure_is_printed_unless_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    fail()
    fail()
    fail(is_silent=True)
    assert capsys.readouterr().err.count("no route") == 2
    assert missed.all_notes() == {}


def test_the_outage_has_the_error_and_the_reason() -> None:
    with tolerated("{}") as outage:
        raise ConnectionError("no route")
    assert isinstance(outage.error, ConnectionError)
    assert outage.message == "MLflow at http://***@127.0.0.1:1 cannot be used (no route)"
    with tolerated("{}") as outage:
        pass
    assert (outage.error, outage.message) == (None, "")


def test_an_interruption_is_not_a_failure_of_mlflow() -> None:
    with pytest.raises(KeyboardInterrupt), tolerated("{}", ["able-cat"]):
        raise KeyboardInterrupt
    assert noted("able-cat") == {}
