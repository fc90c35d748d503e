"""Which command asks for the study; test_study.py asks the real ones."""

from __future__ import annotations

import io
import pickle

import pytest

from stages.base.failures import BadParams
from stages.experiments import command as dvc_command


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


def test_by_hand_it_runs_and_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv("STUDY", raising=False)
    assert dvc_command.is_asked_for()
    monkeypatch.setenv("STUDY", "defer")
    assert not dvc_command.is_asked_for()
    monkeypatch.setenv("STUDY", "perhaps")
    with pytest.raises(BadParams, match="'perhaps' is not allowed; it must be run or defer"):
        dvc_command.is_asked_for()


def test_under_an_unknown_runner_it_is_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that uses DVC as a library has no command line to read."""
    monkeypatch.delenv("STUDY", raising=False)
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    monkeypatch.setenv("DVC_STAGE", "study")
    monkeypatch.setattr(dvc_command, "dvc_above", lambda: None)
    assert not dvc_command.is_asked_for()


def test_what_dvc_packed_is_read_without_running_anything() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run!",)

    plain = {"args": (), "kwargs": {"targets": ["tune"]}}
    assert dvc_command._Plain(io.BytesIO(pickle.dumps(plain))).load() == plain
    with pytest.raises(pickle.UnpicklingError):
        dvc_command._Plain(io.BytesIO(pickle.dumps(Trap()))).load()
