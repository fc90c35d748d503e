"""The pool of workers: a worker that dies, failures in a row, a machine that is lost, a GPU that several share."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stages.services.storage import MAX_LOSSES
from stages.workers.messages import EpochEnded, Failed, Message, Outcome, Place, Task
from stages.workers.pool import WorkerPool
from stages.workers.process import LocalLauncher, LocalWorker, places, remove_stale_folders
from tests.helpers.memory_workers import CRASH, DONE, LOST, MEMORY, ORIGIN, MemoryLauncher, MemoryWorker, task


def outcomes(launcher: MemoryLauncher, *names: str) -> list[tuple[str, Outcome]]:
    with WorkerPool(launcher) as pool:
        return [(task.name, outcome) for task, outcome in pool.run(deque(map(task, names)))]


def test_a_worker_that_was_killed_is_a_failure_with_its_signal_and_can_be_restarted(tmp_path: Path) -> None:
    ended: list[bool] = []
    worker = LocalWorker(Place({}, 1), tmp_path, ORIGIN, lambda: ended.append(True))
    try:
        for _ in range(2):
            assert worker.connection is not None  # starts the process
            psutil.Process(worker._started().pid).kill()
            assert worker.receive() == Failed("crashed", "the worker ended with signal SIGKILL", 0.0)
            worker.restart()
    finally:
        worker.end()
    assert ended == [True]


def test_a_place_has_a_new_worker_when_the_one_before_has_ended() -> None:
    with LocalLauncher([Place({}, 1)] * 2, ORIGIN) as launcher:
        first, second = launcher.new_workers()
        assert launcher.new_workers() == []
        second.end()
        (third,) = launcher.new_workers()
        assert third._folder == second._folder
        first.end()


def test_the_third_failure_of_one_kind_in_a_row_is_repeated_and_a_lost_machine_is_not_counted() -> None:
    pool = WorkerPool(LocalLauncher([], ORIGIN))
    given: list[Outcome] = [MEMORY, MEMORY, DONE, MEMORY, LOST, CRASH, CRASH, LOST, LOST, LOST, CRASH, CRASH]
    assert [pool.is_repeated_failure(outcome) for outcome in given] == [False] * 10 + [True] * 2


def test_a_crash_restarts_the_process_and_a_lost_machine_ends_the_worker() -> None:
    left: Iterator[Message] = iter([CRASH, LOST, DONE])
    launcher = MemoryLauncher(lambda worker, task: [next(left)])
    with WorkerPool(launcher) as pool:
        waiting = deque([task("a"), task("b")])
        run = pool.run(waiting)
        assert next(run) == (task("a"), CRASH)
        assert launcher.workers[0].was_restarted
        launcher.new.append(MemoryWorker(launcher, is_ready=False))  # a machine joins
        assert list(run) == [(task("b"), DONE)]
        assert launcher.workers[0].has_ended


def test_a_task_whose_machine_is_lost_again_and_again_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    launcher = MemoryLauncher(lambda worker, task: [LOST], cards=[""] * (MAX_LOSSES + 1))
    assert outcomes(launcher, "a") == [("a", LOST)]
    assert capsys.readouterr().out.count("a: the machine gpu-1 was lost; it begins again\n") == MAX_LOSSES


def test_a_worker_gets_a_task_only_when_it_is_ready() -> None:
    launcher = MemoryLauncher(lambda worker, task: [DONE], is_ready=False)
    with WorkerPool(launcher) as pool:
        assert not pool.has_free_worker
        assert list(pool.receive()) == []
        assert pool.has_free_worker


def test_a_training_that_a_shared_gpu_had_no_memory_for_is_trained_again_alone() -> None:
    given: list[tuple[str, str]] = []
    first: list[MemoryWorker] = []

    def answers(worker: MemoryWorker, task: Task) -> list[Message]:
        given.append((task.name, worker.card))
        if task.name == "small" and not first:  # it runs until the big one has failed
            first.append(worker)
            return []
        if task.name == "big" and sum(name == "big" for name, _ in given) == 1:
            return [MEMORY]
        return [DONE]

    launcher = MemoryLauncher(answers, cards=["gpu 0", "gpu 0"])
    with WorkerPool(launcher) as pool:
        for name in ("small", "big"):
            pool.submit(task(name))
        assert list(pool.receive()) == []  # the failure is not an outcome yet
        assert not pool.has_free_worker  # nothing else may start on this card
        assert len(given) == 2
        first[0]._other_end.send(DONE)
        assert list(pool.receive()) == [(task("small"), DONE)]
        assert not pool.has_free_worker
        assert list(pool.receive()) == [(task("big"), DONE)]
        assert pool.has_free_worker
    assert [name for name, _ in given] == ["small", "big", "big"]


def test_a_second_signal_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(worker: MemoryWorker) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        worker.has_ended = True

    monkeypatch.setattr(MemoryWorker, "end", end)
    launcher = MemoryLauncher(lambda worker, task: [], cards=["", ""])
    with pytest.raises(KeyboardInterrupt), WorkerPool(launcher) as pool:
        pool.submit(task("a"))
        signal.raise_signal(signal.SIGTERM)
    assert [worker.has_ended for worker in launcher.workers] == [True, True]


def test_a_training_that_has_no_memory_alone_either_has_failed() -> None:
    given: list[str] = []

    def answers(worker: MemoryWorker, task: Task) -> list[Message]:
        given.append(task.name)
        return [MEMORY]

    launcher = MemoryLauncher(answers, cards=["gpu 0", "gpu 0"])
    assert sorted(outcomes(launcher, "a", "b")) == [("a", MEMORY), ("b", MEMORY)]
    assert sorted(given) == ["a", "a", "b", "b"], "each was tried with the others, and then alone"
    assert all(worker.was_restarted for worker in launcher.workers if worker.card)
    alone = MemoryLauncher(lambda worker, task: [MEMORY])
    assert outcomes(alone, "a") == [("a", MEMORY)]


def test_gpus_are_shared_by_so_many_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.workers.process._gpus", lambda: ["0", "1"])
    assert [place.card for place in places(None, None)] == ["", ""]
    shared = places(None, None, per_gpu=2)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in shared] == ["0", "1", "0", "1"]
    assert [place.card for place in shared] == ["0", "1", "0", "1"]
    assert len(places(3, None, per_gpu=2)) == 3
    assert [place.card for place in places(None, "cpu", per_gpu=2)] == [""] * len(places(None, "cpu"))


def test_a_training_that_reports_nothing_is_ended_and_the_others_go_on() -> None:
    """The first worker never answers to `hangs`; a new one takes its place."""

    def answers(worker: MemoryWorker, task: Task) -> list[Message]:
        return [] if task.name == "hangs" else [DONE]

    launcher = MemoryLauncher(answers, cards=("", ""))
    launcher.stall = 0.3
    first = launcher.workers[0]
    with WorkerPool(launcher) as pool:
        ended = {one.name: outcome for one, outcome in pool.run(deque(map(task, ["hangs", "a", "b"])))}
    assert (ended["a"], ended["b"]) == (DONE, DONE)
    stalled = ended["hangs"]
    assert isinstance(stalled, Failed)
    assert stalled.kind == "stalled"
    assert "no epoch ended for 0.3 s" in stalled.reason
    assert first.has_ended


def test_an_epoch_that_ends_in_time_keeps_a_training_alive() -> None:
    launcher = MemoryLauncher(lambda worker, task: [EpochEnded(1, {})])
    launcher.stall = 1.5
    with WorkerPool(launcher) as pool:
        pool.submit(task("slow"))
        begun = time.monotonic()
        for _ in range(3):  # each waits for a second at most
            launcher.workers[0].say(EpochEnded(2, {}))
            assert list(pool.receive()) == []
            time.sleep(0.7)
        assert time.monotonic() - begun > launcher.stall
        deadline = time.monotonic() + 10
        while not (ended := list(pool.receive())):
            assert time.monotonic() < deadline
    ((_, outcome),) = ended
    assert isinstance(outcome, Failed)
    assert outcome.kind == "stalled"


def test_only_folders_of_dead_processes_of_this_machine_are_removed(tmp_path: Path) -> None:
    dead = psutil.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    stale = [f"{host}-{dead.pid}-0", f"{host}-{os.getpid()}-1"]
    kept = [f"{host}-2-{dead.pid}-0", f"other-{dead.pid}-0", f"{host}-{os.getppid()}-0"]
    for name in (*stale, *kept):
        (tmp_path / name).mkdir()
    remove_stale_folders(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
