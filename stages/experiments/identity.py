"""The identity of a result: which files of code, and which parameters of no training, decide it.

dvc.yaml lists the files that a stage depends on. The result of a stage is decided by these files, but not by the
stage's own entry file (stages/train.py), which a trial of a study never runs. Every question of the kind "was this
measured with the present code?" is answered from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.base.files import md5
from stages.base.paths import ROOT
from stages.params.file import read

_IGNORED = {"__pycache__", ".DS_Store", "Thumbs.db"}  # names from .dvcignore that occur among code


@cache
def code_digests(stage: str = "train") -> Mapping[str, str]:
    """Return the digest of each piece of code that decides the result of a stage, by its path in dvc.yaml.

    A digest is the one that DVC writes to dvc.lock: MD5 of a file; for a folder, MD5 of the list of its files and their
    digests, with the suffix `.dir`. It is read once in a process: a file that is edited later was not the one that ran.

    Args:
        stage: A stage of dvc.yaml.
    """
    return {path: _digest(ROOT / path) for path in _code(stage)}


@cache
def evaluation_params() -> Any:
    """Return the group `evaluate` of params.yaml, which decides an evaluation beside the training keys.

    It is read once in a process, as the code is.
    """
    return read(ROOT / "params.yaml").get("evaluate")


def digest_of(code: Mapping[str, str]) -> str:
    """Return the first 12 digits of a digest of pieces of code, given by path and digest."""
    return hashlib.sha256(json.dumps(dict(code), sort_keys=True).encode()).hexdigest()[:12]


def code_files(stage: str) -> list[str]:
    """Return every file of code that a stage depends on, also its entry file; folders count file by file."""
    entry = f"stages/{stage}.py"
    paths = [ROOT / path for path in [*_code(stage), entry] if (ROOT / path).exists()]
    files = [file for path in paths for file in ([path] if path.is_file() else _files(path))]
    return [file.relative_to(ROOT).as_posix() for file in files]


def _code(stage: str) -> list[str]:
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    deps = [next(iter(dep)) if isinstance(dep, dict) else dep for dep in content["deps"]]
    return [path for path in deps if path.startswith("stages/") and path != f"stages/{stage}.py"]


def _digest(path: Path) -> str:
    if path.is_file():
        return md5(path)
    entries = [{"md5": _digest(file), "relpath": file.relative_to(path).as_posix()} for file in _files(path)]
    return f"{hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest()}.dir"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that DVC sees, in DVC's order: by their path as text, so `a.py` precedes `a/b.py`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    kept = [path for path in files if _IGNORED.isdisjoint(path.relative_to(folder).parts)]
    return iter(sorted(kept, key=lambda path: path.relative_to(folder).as_posix()))
