"""Lists of trainings: what counts as trained, and what as failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.experiments import refs
from stages.experiments.finished import FinishedTraining
from stages.search import train_all as module
from stages.search.train_all import train_all
from stages.tracking import missed
from stages.workers.messages import Message, Task
from tests.helpers.memory_workers import CRASH, MemoryLauncher, MemoryWorker, task


def test_a_worker_that_was_killed_after_it_has_saved_its_training_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its run would be in no list of missing runs, and the next command finds the experiment ready."""
    saved = FinishedTraining("saved", "grid", {}, {"mAP50": 0.5, "train_seconds": 3.0}, {}, ())
    monkeypatch.setattr(missed, "HOME", tmp_path)
    monkeypatch.setattr(module, "finished_training", lambda name: saved if name != "lost" else None)
    experiments = {"of another commit": ("0a1b2c", "")}
    monkeypatch.setattr(refs, "experiments", lambda: dict(experiments))

    def crash(worker: MemoryWorker, task: Task) -> list[Message]:
        if task.name == "saved":
            experiments["saved"] = "1b2c3d", ""
        return [CRASH]

    failed: dict[str, str] = {}
    tasks = {name: task(name) for name in ("saved", "lost", "of another commit")}
    trained = list(train_all(tasks, MemoryLauncher(crash), failed))
    assert trained == [("saved", saved)]
    assert list(failed) == ["lost", "of another commit"]
    assert list(missed.all_notes()) == ["saved"], "it is mirrored in MLflow"
    assert "lost: failed: " in capsys.readouterr().out
