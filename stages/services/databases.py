"""Addresses of databases, and the creation of SQLite files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from stages.base.paths import main_root

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's defaults wait for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def anchored(uri: str) -> str:
    """Return an address with the absolute path of its SQLite file: relative paths start at the main repository."""
    kind, separator, path = uri.partition(":///")
    return f"{kind}:///{(main_root() / path).as_posix()}" if separator and kind == "sqlite" else uri


def mlflow_address() -> str:
    """Return the address of MLflow: MLFLOW_TRACKING_URI, or mlflow.db in the main repository."""
    return anchored(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")


def study_address(setting: str | None) -> str:
    """Return the address of the studies: OPTUNA_STORAGE, `tune.storage`, or .study/optuna.db in the main repository.

    Args:
        setting: `tune.storage` of params.yaml.
    """
    return anchored(os.environ.get("OPTUNA_STORAGE") or setting or "sqlite:///.study/optuna.db")


def hidden(uri: str) -> str:
    """Return an address without its secret parts: user, password and query."""
    shown = uri if uri.startswith("sqlite") else re.sub(r"(?<=://).*@", "***@", uri)
    return shown.partition("?")[0]


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None if the address is that of another database."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if uri.startswith("sqlite:///") else None


def make_whole(uri: str, make: Callable[[str], None]) -> None:
    """Create an SQLite database under another name, then rename it, so that a kill leaves no incomplete database.

    Args:
        uri: The address. If it is that of another database, or the file exists, nothing happens.
        make: A function that creates a database at an address, and closes it.
    """
    path = sqlite_file(uri)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        partial = path.with_name(f"{path.name}.partial")
        for old in path.parent.glob(f"{partial.name}*"):  # with SQLite's journal
            old.unlink()
        make(f"sqlite:///{partial.as_posix()}")
        partial.replace(path)
