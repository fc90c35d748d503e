"""The search, with a worker and a mirror in memory: how each outcome ends a trial, and how the search ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from stages.base.failures import Failure
from stages.experiments.workshop import Origin
from stages.search.loop import Search
from stages.search.study import Study
from stages.workers import pool
from stages.workers.messages import Done, EpochEnded, Failed, Message, Outcome, Place, Stopped, Task
from tests.unit.search.studies import states, study_with

DONE = Done({"mAP50": 0.5, "recall": 0.4}, 9.0)
CRASHED = Failed("crashed", "the worker ended with signal SIGKILL", 0.0)


class MemoryWorker:
    """A worker without a process: it answers each task with one epoch and the next outcome of a list."""

    outcomes: Iterator[Outcome]

    def __init__(self, place: Place, folder: Path, origin: Origin) -> None:
        self.connection, self._other_end = Pipe()

    def send(self, task: Task) -> None:
        self._other_end.send(EpochEnded(1, {"mAP50": 0.1}))

    def receive(self) -> Message:
        message: Message = self.connection.recv()
        return message

    def answer(self, stop: bool) -> None:
        self._other_end.send(next(self.outcomes))

    def restart(self) -> None:
        pass

    def end(self) -> None:
        pass


class MemoryMirror:
    """A mirror that remembers the names of the trials."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []

    def begin(self, trial: FrozenTrial) -> None:
        self.begun.append(trial.user_attrs["name"])

    def epoch(self, name: str, number: int, metrics: dict[str, float]) -> None:
        assert name in self.begun

    def finished(self, trial: FrozenTrial) -> None:
        self.ended.append(trial.user_attrs["name"])


def search(
    monkeypatch: pytest.MonkeyPatch, study: Study, outcomes: Iterable[Outcome], workers: int = 1
) -> tuple[Search, MemoryMirror]:
    monkeypatch.setattr(pool, "Worker", MemoryWorker)
    monkeypatch.setattr(MemoryWorker, "outcomes", iter(outcomes), raising=False)
    mirror: Any = MemoryMirror()
    return Search(study, None, [Place({}, 1)] * workers, Origin("", "", ""), mirror), mirror


def test_a_search_ends_at_its_target_and_replaces_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_with(tune__trials=3)
    outcomes: list[Outcome] = [DONE, Failed("out of memory", "batch 64", 3.0), Stopped(2.0), DONE]
    searched, mirror = search(monkeypatch, study, outcomes, workers=2)
    searched.run()
    assert sorted(state.name for state in states(study)) == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert sorted(mirror.begun) == sorted(mirror.ended)
    assert len(mirror.begun) == 4
    lines = capsys.readouterr().out.splitlines()
    assert sum("failed after 3 s: batch 64; see " in line for line in lines) == 1
    assert sum("mAP50 0.500, complete, 9 s" in line for line in lines) == 2


def test_a_crashed_trial_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with(tune__trials=1)
    search(monkeypatch, study, [CRASHED, DONE])[0].run()
    first, second = study.trials()
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.params == second.params


def test_three_failures_of_one_kind_in_a_row_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with(tune__trials=9)
    memory = Failed("out of memory", "batch 64", 3.0)
    outcomes: list[Outcome] = [memory, memory, DONE, memory, CRASHED, memory, memory, memory]
    with pytest.raises(Failure, match=r"3 trials in a row failed \(out of memory\): batch 64; see "):
        search(monkeypatch, study, outcomes)[0].run()
    assert len(study.trials()) == len(outcomes)


def test_a_search_ends_when_the_space_is_exhausted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_with(tune__trials=9, tune__space={"epochs": {"low": 2, "high": 3}})
    search(monkeypatch, study, [DONE, DONE])[0].run()
    assert states(study) == [TrialState.COMPLETE, TrialState.COMPLETE]
    assert "every point of tune.space has been tried" in capsys.readouterr().out


def test_a_trial_that_runs_when_the_search_is_interrupted_is_lost_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> Iterator[Outcome]:
        raise KeyboardInterrupt
        yield DONE

    study = study_with(tune__trials=2)
    searched, mirror = search(monkeypatch, study, interrupted())
    with pytest.raises(KeyboardInterrupt):
        searched.run()
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials()[0].user_attrs["reason"] == "the study was stopped"
    assert mirror.ended == mirror.begun
