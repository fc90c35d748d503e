"""The variables of .env: for every command, behind those of the environment, and never printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.base import environment, failures
from stages.base.failures import Failure
from tests.helpers.project import SOURCE

SECRET = "hunter2"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the .env of a repository whose commands run in this process, without variables of the environment."""
    monkeypatch.setattr(environment, "FILE", ".env")
    monkeypatch.setattr(environment, "main_root", lambda: tmp_path)
    for name in environment.NAMES:  # setenv comes first, so that the end of the test deletes what `load` sets
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def written(text: str) -> None:
        (tmp_path / ".env").write_bytes(text.encode("utf-8"))

    return written


def loaded() -> dict[str, str]:
    """Return the variables that a command sees."""
    seen: dict[str, str] = {}
    failures.run(lambda: seen.update({name: os.environ[name] for name in environment.NAMES if name in os.environ}))
    return seen


def test_without_the_file_nothing_is_set(write: Callable[[str], None]) -> None:
    assert loaded() == {}


def test_a_command_sees_the_variables_of_the_file_and_no_others(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_PORT", "POSTGRES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    lines = ["# mine", "MLFLOW_PORT=1", f"POSTGRES_PASSWORD={SECRET}", "export STUDY = 'defer' # never", "RAY_ADDRESS="]
    write("\r\n".join(lines))
    assert loaded() == {"STUDY": "defer"}
    assert "MLFLOW_PORT" not in os.environ
    assert "POSTGRES_PASSWORD" not in os.environ


def test_a_variable_of_the_environment_wins_also_an_empty_one(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("MLFLOW_TRACKING_URI=http://file\nOPTUNA_STORAGE=sqlite:///file.db\nSTUDY=run\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    monkeypatch.setenv("OPTUNA_STORAGE", "")
    expected = {"MLFLOW_TRACKING_URI": "http://environment", "OPTUNA_STORAGE": "", "STUDY": "run"}
    assert loaded() == expected


@pytest.mark.parametrize("account", [name for name, owner in environment.NAMES.items() if owner])
def test_an_account_of_the_file_is_not_sent_to_an_address_of_the_environment(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, account: str
) -> None:
    owner = environment.NAMES[account]
    assert owner is not None
    write(f"{owner}=file\n{account}={SECRET}\n")
    monkeypatch.setenv(owner, "environment")
    assert loaded() == {owner: "environment"}


def test_an_account_of_the_environment_belongs_to_an_address_of_the_file(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("MLFLOW_TRACKING_URI=http://file\nMLFLOW_TRACKING_PASSWORD=file\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "environment")
    assert loaded() == {"MLFLOW_TRACKING_URI": "http://file", "MLFLOW_TRACKING_PASSWORD": "environment"}


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["STUDY=${KIND:-defer}"], "defer"),
        (["KIND=", "STUDY=${KIND:-defer}"], "defer"),
        (["KIND=run", "STUDY=${KIND:-defer}"], "run"),
        (["KIND=run", "KIND=defer", "STUDY=${KIND}"], "defer"),
        (["KIND='a$b${c}'", "STUDY=<${KIND}>"], "<a$b${c}>"),
        (["STUDY='${KIND}'"], "${KIND}"),
        (['STUDY="a #b" # c'], "a #b"),
        (["STUDY=a$b"], "a$b"),
        (["\ufeffSTUDY=run"], "run"),
    ],
)
def test_a_value_may_use_the_lines_above(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, lines: list[str], value: str
) -> None:
    monkeypatch.delenv("KIND", raising=False)
    write("\n".join(lines))
    assert loaded() == {"STUDY": value}


def test_a_value_uses_the_environment_before_the_lines_above(
    write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "environment")
    write("POSTGRES_PASSWORD=file\nPGPASSWORD=${POSTGRES_PASSWORD}\n")
    assert loaded() == {"PGPASSWORD": "environment"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"STUDY=run\n\n  \nPGPASSWORD {SECRET}\n", "line 4"),
        (f"PGPASSWORD='{SECRET}\nSTUDY=run\n", "line 1"),
        (f"# mine\nSTUDY=run\n{SECRET}\n", "line 3"),
        (f"STUDY=run\nPGPASSWORD='{SECRET}' {SECRET}\n", "line 2"),
        (f"PGPASSWORD={SECRET}${{NOBODY_SETS_THIS}}", "line 1: ${NOBODY_SETS_THIS}"),
    ],
)
def test_a_wrong_line_is_one_line_with_its_number_and_without_its_content(
    write: Callable[[str], None], capsys: pytest.CaptureFixture[str], text: str, place: str
) -> None:
    write(text)
    with pytest.raises(SystemExit) as ended:
        loaded()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: .env, {place}")
    assert printed.err.count("\n") == 1
    assert SECRET not in printed.err


def test_a_file_in_another_encoding_is_one_line(write: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("STUDY=run\n".encode("utf-16"))  # as `>` of PowerShell 5 writes it
    with pytest.raises(Failure, match=r"^\.env cannot be read: it must be saved as UTF-8$"):
        environment.read()


def test_a_file_that_cannot_be_read_is_one_line(write: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(Failure, match=r"^\.env cannot be read: \w"):
        environment.read()


def test_a_queued_experiment_reads_the_file_of_the_main_repository(tmp_path: Path) -> None:
    """DVC runs it in a folder of the main repository, which has no .env."""
    folder = tmp_path / ".dvc" / "tmp" / "exps" / "tmp1"
    shutil.copytree(SOURCE / "stages" / "base", folder / "stages" / "base")
    (tmp_path / ".env").write_text("STUDY=defer\n", encoding="utf-8")
    code = "import os; from stages.base import failures; failures.run(lambda: print(os.environ['STUDY']))"
    inherited = {name: value for name, value in os.environ.items() if name != "STUDY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=inherited, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("defer\n", "")
