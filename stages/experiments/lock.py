"""dvc.lock: read, edited, and compared with the files that it describes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from stages.base.failures import Failure
from stages.params.file import dumped, read

Lock = dict[str, Any]
"""The stages of a dvc.lock by name."""


def read_lock(text: str) -> Lock:
    """The stages of a dvc.lock.

    Raises:
        ValueError: It is none.
    """
    try:
        return dict(yaml.load(text, _Loader)["stages"])  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError("not a dvc.lock") from error


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads numbers as DVC writes them: 1e-05 is one in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def edited_lock(text: str, values: Mapping[str, Any], keep: Collection[str] | None = None) -> str:
    """The text of a dvc.lock whose stage check has seen other values: those of a validated space need no check.

    Args:
        text: Of the dvc.lock.
        values: Of top-level keys of params.yaml.
        keep: The stages to keep, or None for all.
    """
    yaml_ = YAML()
    content = yaml_.load(text)
    stages = content["stages"]
    for name in [name for name in stages if keep is not None and name not in keep]:
        del stages[name]
    if "check" in stages:
        stages["check"]["params"]["params.yaml"].update(values)
    return dumped(yaml_, content)


def prepared(lock: Lock) -> dict[str, Any]:
    """The entry of data/prepared in a dvc.lock: path, digest, size.

    Raises:
        Failure: There is none.
    """
    for out in lock.get("prepare", {}).get("outs", []):
        if out["path"] == "data/prepared":
            return dict(out)
    raise Failure("dvc.lock knows no data/prepared: run `dvc repro prepare`")


class Incomplete(Failure):
    """What DVC keeps is not a whole run: a file is missing, or is of another form than this code writes."""


def stale(folder: Path) -> str:
    """Why the reports of a folder are not those of its params.yaml, or nothing where they are.

    dvc.lock keeps the parameters and the digests of the run that it describes.

    Raises:
        Incomplete: There is no dvc.lock.
    """
    current = read(folder / "params.yaml")
    lock = _lock(folder)
    for stage in (lock[name] for name in ("prepare", "train", "evaluate") if name in lock):
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            if current.get(key) != value:
                return f"{key} in params.yaml was changed since the last run"
        for out in stage.get("outs", []):
            if out["path"].endswith("metrics.json") and not _is_as_locked(folder, out):
                return f"{out['path']} is not the one of the last run"
    return ""


def evaluated(folder: Path) -> bool:
    """Whether a folder holds the evaluation of the model that it holds, so that DVC will not evaluate it again."""
    try:
        lock = _lock(folder)
        stage, data = lock["evaluate"], lock["prepare"]["outs"]
        current = read(folder / "params.yaml")
    except (LookupError, Failure):
        return False
    files = [file for file in (*stage["deps"], *stage["outs"]) if file["path"] != "data/prepared"]
    return (
        all(current.get(key) == value for key, value in stage["params"]["params.yaml"].items())
        and any(dependency["md5"] == out["md5"] for dependency in stage["deps"] for out in data)
        and all(_is_as_locked(folder, file) for file in files)
    )


def _is_as_locked(folder: Path, file: Mapping[str, Any]) -> bool:
    path = folder / file["path"]
    return path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() == file["md5"]


def weights_digest(folder: Path) -> str:
    """MD5 of models/best.pt by the dvc.lock of a folder."""
    for out in _lock(folder).get("train", {}).get("outs", []):
        if out["path"] == "models/best.pt":
            return str(out["md5"])
    raise Incomplete("dvc.lock names no models/best.pt")


def _lock(folder: Path) -> dict[str, Any]:
    """The stages of a dvc.lock."""
    try:
        return dict(read(folder / "dvc.lock")["stages"])
    except (KeyError, Failure) as error:
        raise Incomplete(f"dvc.lock: {error}") from error
