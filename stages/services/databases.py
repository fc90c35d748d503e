"""Addresses of databases, and SQLite files that are whole or not there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from stages.base.paths import main_root


def anchored(uri: str) -> str:
    """An address whose SQLite file is found from the main repository on."""
    kind, separator, path = uri.partition(":///")
    return f"{kind}:///{(main_root() / path).as_posix()}" if separator and kind == "sqlite" else uri


def mlflow_address() -> str:
    """Return where runs are kept: MLFLOW_TRACKING_URI, or mlflow.db of the main repository."""
    return anchored(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")


def study_address(given: str | None) -> str:
    """Return where studies are kept: OPTUNA_STORAGE, `tune.storage`, or .study/optuna.db of the main repository.

    Args:
        given: `tune.storage` of params.yaml.
    """
    return anchored(os.environ.get("OPTUNA_STORAGE") or given or "sqlite:///.study/optuna.db")


def hidden(uri: str) -> str:
    """An address without what may be secret in it: user, password and query."""
    return re.sub(r"(?<=://).*@", "***@", uri).partition("?")[0]


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite database; None where it is another kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def make_whole(uri: str, make: Callable[[str], None]) -> None:
    """Make an SQLite database, whole or not at all: a kill between its many first steps would leave it unusable.

    Args:
        uri: Its address. Nothing is done where it is another kind of database, or the file is there.
        make: Makes a database at the address that it is given, and closes it.
    """
    path = sqlite_file(uri)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        partial = path.with_name(f"{path.name}.partial")
        for left in path.parent.glob(f"{partial.name}*"):  # with SQLite's journal
            left.unlink()
        make(f"sqlite:///{partial.as_posix()}")
        partial.replace(path)
