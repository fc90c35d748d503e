"""`python -m stages services --setup`: it connects a clone, keeps the files of a user, and prints no secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages.base import environment, failures
from stages.services import setup
from tests.helpers.project import SOURCE

DEFAULTS = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    "OPTUNA_STORAGE": "postgresql://postgres@127.0.0.1:5432/optuna",
    "PGPASSWORD": "postgres12345",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": "minio",
    "AWS_SECRET_ACCESS_KEY": "minio12345",
}
KEYS = ("endpointurl", "access_key_id", "secret_access_key")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new clone with this project's settings of DVC."""
    for name in (".dvc/config", ".dvc/.gitignore", ".env.example", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((SOURCE / name).read_bytes())
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(environment, "FILE", ".env")
    for module in (environment, setup):
        monkeypatch.setattr(module, "main_root", lambda: tmp_path)
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_PORT", "POSTGRES_PASSWORD", "POSTGRES_PORT", "MLFLOW_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def remote(root: Path) -> tuple[str | None, ...]:
    """Return the settings of DVC's remote, as DVC reads them."""
    with Repo(str(root)) as repo:
        settings = repo.config["remote"]["minio"]
    return tuple(settings.get(key) for key in KEYS)


def test_a_new_clone_gets_the_default_services(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup.set_up()
    assert environment.read() == DEFAULTS
    assert remote(root) == ("http://127.0.0.1:9000", "minio", "minio12345")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.partition(":")[0] for line in printed.out.splitlines()] == [".env", ".dvc/config.local"]
    assert "12345" not in printed.out


def test_git_ignores_what_is_written(root: Path) -> None:
    files = ["status", "--porcelain", "--untracked-files=all"]
    before = subprocess.run(["git", *files], cwd=root, capture_output=True, check=True).stdout
    setup.set_up()
    assert subprocess.run(["git", *files], cwd=root, capture_output=True, check=True).stdout == before


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_only_the_user_can_read_what_is_written(root: Path) -> None:
    (root / ".env").write_bytes((root / ".env.example").read_bytes())
    (root / ".dvc" / "config.local").touch()
    for name in (".env", ".dvc/config.local"):
        (root / name).chmod(0o644)
    setup.set_up()
    assert [(root / name).stat().st_mode & 0o777 for name in (".env", ".dvc/config.local")] == [0o600, 0o600]
    (root / ".dvc" / "config.local").chmod(0o644)
    setup.set_up()
    assert (root / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    (root / ".env").unlink()
    setup.set_up()
    assert (root / ".env").stat().st_mode & 0o777 == 0o600


def test_a_second_call_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup.set_up()
    before = [(root / name).read_bytes() for name in (".env", ".dvc/config.local")]
    capsys.readouterr()
    setup.set_up()
    assert [(root / name).read_bytes() for name in (".env", ".dvc/config.local")] == before
    assert capsys.readouterr().out == ".env: kept\n.dvc/config.local: remote minio: nothing to change\n"


def test_an_existing_file_decides_and_other_local_settings_stay(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".env").write_text("S3_PORT=9100\nAWS_ENDPOINT_URL_S3=http://127.0.0.1:${S3_PORT}\n", encoding="utf-8")
    config = root / ".dvc" / "config.local"
    own = ["[core]", "    autostage = true", "['remote \"minio\"']", "    access_key_id = mine"]
    config.write_text("\n".join(own), encoding="utf-8")
    setup.set_up()
    assert remote(root) == ("http://127.0.0.1:9100", "mine", None)
    with Repo(str(root)) as repo:
        assert repo.config["core"]["autostage"] is True
    assert capsys.readouterr().out.endswith("remote minio: endpointurl written\n")


def test_a_file_without_keys_leaves_the_remote_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".env").write_text("S3_PORT=9100\n", encoding="utf-8")
    setup.set_up()
    assert not (root / ".dvc" / "config.local").exists()
    assert "not written, because .env has no AWS_ENDPOINT_URL_S3" in capsys.readouterr().out


def test_a_remote_elsewhere_is_left_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ".dvc" / "config").write_text(
        "[core]\n    remote = disk\n['remote \"disk\"']\n    url = /srv/dvc\n", encoding="utf-8"
    )
    setup.set_up()
    assert not (root / ".dvc" / "config.local").exists()
    assert "not written, because DVC's default remote (disk) is not on S3" in capsys.readouterr().out


@pytest.mark.parametrize("name", [".env", ".dvc/config.local"])
def test_a_wrong_file_is_one_line_and_nothing_is_written(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (root / name).write_text("hunter2\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        failures.run(setup.set_up)
    assert ended.value.code == 1
    assert (root / name).read_text(encoding="utf-8") == "hunter2\n"
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line


def test_without_the_example_the_user_is_told_to_restore_it(root: Path) -> None:
    (root / ".env.example").unlink()
    with pytest.raises(failures.Failure, match=r"git checkout \.env\.example"):
        setup.set_up()


def test_the_command_prints_two_lines_and_no_secret(root: Path) -> None:
    shutil.copytree(SOURCE / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "stages", "services", "--setup"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 2)
    assert "12345" not in done.stdout
    assert remote(root) == ("http://127.0.0.1:9000", "minio", "minio12345")
