"""A study whose database is held by another program, and a clock that is set back."""

from __future__ import annotations

import datetime
import sqlite3
import threading
import time
from pathlib import Path

import optuna
import pytest

from stages.base.failures import Failure
from stages.search.next_trial import next_trial
from stages.services import storage
from tests.unit.search.studies import result, study_with


def hold(database: Path, seconds: float) -> threading.Thread:
    """Hold the lock of a database for a time, as a program that writes to it does. Return when it is held."""
    held = threading.Event()

    def work() -> None:
        connection = sqlite3.connect(database, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        held.set()
        time.sleep(seconds)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(10)
    return thread


def test_a_study_waits_for_a_program_that_holds_its_database(tmp_path: Path) -> None:
    study = study_with()
    other = hold(tmp_path / "optuna.db", 2)
    trial = next_trial(study)
    assert trial is not None
    study.complete(trial, {"mAP50": 0.5}, 9.0)
    other.join()
    (stored,) = study.trials()
    assert stored.value == 0.5


def test_a_database_that_stays_locked_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", 1)
    study = study_with()
    other = hold(tmp_path / "optuna.db", 12)
    with pytest.raises(Failure, match="database is locked") as raised:
        study.record_second_seed({0: 0.5})
    assert "\n" not in str(raised.value)
    other.join()
    study.record_second_seed({0: 0.5})
    assert study.second_seed() == {0: 0.5}


def test_a_clock_that_is_set_back_loses_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with(tune__trials=9)
    study.add_results([result("grid-1", epochs=5, imgsz=128, value=0.6)])
    first = next_trial(study)
    assert first is not None
    yesterday = datetime.datetime.now() - datetime.timedelta(days=1)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return yesterday

    monkeypatch.setattr(optuna.storages._rdb.storage, "datetime", Clock)
    monkeypatch.setattr(time, "time", yesterday.timestamp)
    study.complete(first, {"mAP50": 0.5}, 9.0)
    second = next_trial(study)
    assert second is not None
    study.complete(second, {"mAP50": 0.4}, 9.0)
    assert [trial.value for trial in study.trials()] == [0.6, 0.5, 0.4]
    best = study.best()
    assert best is not None
    assert best.value == 0.6
