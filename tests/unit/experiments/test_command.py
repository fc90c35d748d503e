"""The dvc commands that ask for the study. tests/pipeline/test_search.py runs real ones."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stages import study as study_stage
from stages.base.failures import BadParams
from stages.experiments import command as dvc_command
from stages.experiments.command import Request
from tests.helpers.project import SOURCE


@pytest.mark.parametrize(
    ("command", "targets"),
    [
        (["dvc", "repro"], []),
        (["/x/.venv/bin/python3.11", "/x/.venv/bin/dvc", "repro", "tune"], ["tune"]),
        (["python", "-m", "dvc", "repro", "-f", "tune"], ["tune"]),
        (["C:\\x\\Scripts\\dvc.exe", "repro", "dvc.yaml:study"], ["dvc.yaml:study"]),
        (["/usr/lib/python3/dvc/__main__.py", "repro", "train", "tune"], ["train", "tune"]),
        (["dvc", "repro", "--glob", "tune"], ["tune"]),
        (["dvc", "exp", "run", "-n", "tune"], []),
        (["dvc", "queue", "start"], []),
        (["dvc", "nonsense", "tune"], []),
    ],
)
def test_the_targets_are_read_as_dvc_reads_them(command: list[str], targets: list[str]) -> None:
    assert dvc_command.targets_of(command) == targets


@pytest.mark.parametrize(
    "command",
    [["git", "commit", "-m", "dvc"], ["vim", "dvc"], ["bash", "-c", "dvc repro tune"], ["python", "x.py"], []],
)
def test_another_command_is_not_dvc(command: list[str]) -> None:
    assert dvc_command.arguments_of(command) is None


def test_without_dvc_the_study_runs_and_the_environment_overrides_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv("STUDY", raising=False)
    assert dvc_command.is_asked_for()
    monkeypatch.setenv("STUDY", "defer")
    assert not dvc_command.is_asked_for()
    monkeypatch.setenv("STUDY", "perhaps")
    with pytest.raises(BadParams, match="'perhaps' is not allowed; it must be run or defer"):
        dvc_command.is_asked_for()


@pytest.fixture
def under_dvc(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the environment of a stage that DVC runs."""
    monkeypatch.delenv("STUDY", raising=False)
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    monkeypatch.setenv("DVC_STAGE", "study")
    return monkeypatch


def test_a_program_that_uses_dvc_as_a_library_defers_the_study(under_dvc: pytest.MonkeyPatch) -> None:
    """Such a program has no command line to read."""
    under_dvc.setattr(dvc_command, "find_dvc", lambda: None)
    assert dvc_command.read_request() == Request(False, "the dvc command that started this stage could not be read")


@pytest.mark.parametrize(("value", "runs"), [("run", True), ("defer", False)])
def test_the_environment_overrides_the_command(under_dvc: pytest.MonkeyPatch, value: str, runs: bool) -> None:
    under_dvc.setenv("STUDY", value)
    command = ["dvc", "repro", *(["tune"] if not runs else [])]
    under_dvc.setattr(dvc_command, "find_dvc", lambda: SimpleNamespace(cmdline=lambda: command))
    assert dvc_command.read_request().is_for_study == runs


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (["dvc", "repro"], Request(False, "the command was `dvc repro`")),
        (["python", "-m", "dvc", "repro", "-f", "train"], Request(False, "the command was `dvc repro -f train`")),
        (["dvc", "repro", "train", "tune"], Request(True, "`dvc repro` had the targets train, tune")),
        (["dvc", "exp", "run", "-n", "tune"], Request(False, "`dvc repro` had no targets")),
    ],
)
def test_a_request_names_the_targets_of_the_command(
    under_dvc: pytest.MonkeyPatch, command: list[str], request_: Request
) -> None:
    under_dvc.setattr(dvc_command, "find_dvc", lambda: SimpleNamespace(cmdline=lambda: command))
    assert dvc_command.read_request() == request_


def test_a_request_names_the_targets_of_an_experiment(under_dvc: pytest.MonkeyPatch) -> None:
    under_dvc.setenv("DVC_EXP_BASELINE_REV", "a" * 40)
    under_dvc.setattr(dvc_command, "targets_of_experiment", lambda: ["dvc.yaml:tune"])
    assert dvc_command.read_request() == Request(True, "`dvc exp run` had the targets dvc.yaml:tune")
    under_dvc.setattr(dvc_command, "targets_of_experiment", list)
    assert dvc_command.read_request() == Request(False, "`dvc exp run` had no targets")


def test_a_deferred_study_prints_the_targets_that_were_read(
    under_dvc: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    under_dvc.setenv("DVC_EXP_BASELINE_REV", "a" * 40)
    under_dvc.setattr(dvc_command, "targets_of_experiment", lambda: ["train", "evaluate"])
    under_dvc.setattr(study_stage, "REPORT", tmp_path)
    study_stage.main()
    assert capsys.readouterr().out == (
        "no study was asked for: `dvc exp run tune` runs one (`dvc exp run` had the targets train, evaluate)\n"
    )


def test_the_arguments_that_dvc_packed_are_read_without_running_code() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run!",)

    plain = {"args": (), "kwargs": {"targets": ["tune"]}}
    assert dvc_command._PlainUnpickler(io.BytesIO(pickle.dumps(plain))).load() == plain
    with pytest.raises(pickle.UnpicklingError):
        dvc_command._PlainUnpickler(io.BytesIO(pickle.dumps(Trap()))).load()


STAGE = """
import subprocess, sys, time
from stages.experiments.command import end_with_command
end_with_command()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
DVC = f"""
import subprocess, sys
stage = subprocess.Popen([sys.executable, "-c", {STAGE!r}], stdout=subprocess.PIPE, text=True)
print(stage.pid, stage.stdout.readline(), flush=True)
stage.wait()
"""


def test_a_stage_ends_with_its_processes_when_dvc_is_killed(tmp_path: Path) -> None:
    """Otherwise the same command would start a second stage that writes to the same files."""
    program = tmp_path / "dvc"
    program.write_text(DVC, encoding="utf-8")
    environment = {**os.environ, "DVC_STAGE": "train", "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        stage, child = map(int, process.stdout.readline().split())
        process.kill()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in (stage, child)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
