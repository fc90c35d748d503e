"""The search, with a worker and a mirror in memory: how each outcome ends a trial, and how the search ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from stages.base.failures import Failure
from stages.search.loop import Search
from stages.search.study import Study
from stages.services.storage import MAX_LOSSES
from stages.workers.messages import Done, EpochEnded, Failed, Outcome, Stopped
from tests.helpers.memory_workers import MemoryLauncher, MemoryWorker
from tests.unit.search.studies import states, study_with

DONE = Done({"mAP50": 0.5, "recall": 0.4}, 9.0)
CRASHED = Failed("crashed", "the worker ended with signal SIGKILL", 0.0)


class EpochWorker(MemoryWorker):
    """A worker that answers each task with one epoch, and then with the next outcome of a list."""

    outcomes: Iterator[Outcome]

    def answer(self, stop: bool) -> None:
        self.say(next(self.outcomes))

    def end(self) -> None:
        """End, and have a successor."""
        self.launcher.new.append(EpochWorker(self.launcher))


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
    monkeypatch.setattr(EpochWorker, "outcomes", iter(outcomes), raising=False)
    mirror: Any = MemoryMirror()
    launcher = MemoryLauncher(lambda worker, task: [EpochEnded(1, {"mAP50": 0.1})], cards=())
    launcher.new = [EpochWorker(launcher) for _ in range(workers)]
    return Search(study, None, launcher, mirror), mirror


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


def test_a_lost_machine_costs_neither_the_trial_nor_its_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Failed("lost", "the machine gpu-1 was lost", 0.0)
    study = study_with(tune__trials=1)
    search(monkeypatch, study, [lost, lost, CRASHED, lost, DONE])[0].run()
    trials = study.trials()
    assert [trial.state.name for trial in trials] == ["FAIL"] * 4 + ["COMPLETE"]
    assert [trial.user_attrs.get("kind") for trial in trials] == ["lost", "lost", "crashed", "lost", None]
    assert len({tuple(trial.params.items()) for trial in trials}) == 1


def test_a_point_that_loses_every_machine_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Failed("lost", "the machine gpu-1 was lost", 0.0)
    study = study_with(tune__trials=1)
    search(monkeypatch, study, [lost] * (MAX_LOSSES + 2) + [DONE])[0].run()
    *others, last = study.trials()
    assert len(others) == MAX_LOSSES + 2
    assert len({tuple(trial.params.items()) for trial in others}) == 1
    assert last.params != others[0].params


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


def test_the_time_is_over_though_no_worker_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    searched, _ = search(monkeypatch, study_with(), [], workers=0)
    searched._deadline = time.monotonic() + 0.5
    searched.run()
