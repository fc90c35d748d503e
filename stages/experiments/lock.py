"""dvc.lock: read, edited and queried."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from stages.base.failures import Failure
from stages.base.paths import BEST_MODEL, PREPARED_DATA
from stages.params.file import dumped

Lock = dict[str, Any]
"""The stages of a dvc.lock by name."""


class Incomplete(Failure):
    """The record that DVC keeps of a run is not complete: a file is missing, or has another form."""


def parse_lock(text: str) -> Lock:
    """Return the stages in the text of a dvc.lock.

    Raises:
        ValueError: The text is not that of a dvc.lock.
    """
    try:
        return dict(yaml.load(text, _Loader)["stages"])  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise ValueError("not a dvc.lock") from error


def read_lock(folder: Path) -> Lock:
    """Return the stages in the dvc.lock of a folder.

    Raises:
        Incomplete: The folder has no dvc.lock, or the file is damaged.
    """
    try:
        return parse_lock((folder / "dvc.lock").read_text(encoding="utf-8"))
    except OSError as error:
        raise Incomplete(f"dvc.lock: {error.strerror}") from error
    except ValueError as error:
        raise Incomplete(f"dvc.lock: {error}") from error


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A fast loader of YAML 1.2, as DVC writes it: 1e-05 is a number there, and `yes` is a text.

    PyYAML knows YAML 1.1 only. It is used because ruamel.yaml takes three times as long, and a study has many locks.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way; without those of YAML 1.1


for _type, _form, _first in (
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?[1-9]\d*$|0$", list("-+0123456789")),
    ("float", r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(_form), _first)


def edited_lock(text: str, values: Mapping[str, Any], keep: Collection[str] | None = None) -> str:
    """Return the text of a dvc.lock in which stage check has validated other values.

    Values of the search space need no check: the whole space is validated before the study begins.

    Args:
        text: The text of the dvc.lock.
        values: Values of top-level keys of params.yaml.
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


def dependencies(lock: Lock, stage: str) -> dict[str, str]:
    """Return the MD5 of each file or folder that a stage has read, by its path; none if it has not run."""
    return {file["path"]: file["md5"] for file in lock.get(stage, {}).get("deps", [])}


def outputs(lock: Lock, stage: str) -> dict[str, str]:
    """Return the MD5 of each file or folder that a stage has written, by its path; none if it has not run."""
    return {file["path"]: file["md5"] for file in lock.get(stage, {}).get("outs", [])}


def parameters(lock: Lock, stage: str) -> dict[str, Any]:
    """Return the values of params.yaml that a stage has used, by their keys; none if it has not run."""
    return dict(lock.get(stage, {}).get("params", {}).get("params.yaml", {}))


def prepared(lock: Lock) -> dict[str, Any]:
    """Return the entry of data/prepared in a dvc.lock: path, digest, size.

    Raises:
        Failure: There is no such entry.
    """
    for out in lock.get("prepare", {}).get("outs", []):
        if out["path"] == PREPARED_DATA:
            return dict(out)
    raise Failure(f"dvc.lock does not contain {PREPARED_DATA}: run `dvc repro prepare`")


def weights_digest(folder: Path) -> str:
    """Return the MD5 of models/best.pt according to the dvc.lock of a folder.

    Raises:
        Incomplete: There is no dvc.lock, or it does not contain the file.
    """
    digest = outputs(read_lock(folder), "train").get(BEST_MODEL)
    if digest is None:
        raise Incomplete(f"dvc.lock does not contain {BEST_MODEL}")
    return digest
