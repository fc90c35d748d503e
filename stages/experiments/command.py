"""Whether the command under way asks for the study: the one place that decides.

DVC walks every stage on `dvc repro` and `dvc exp run`, and has no stage that runs when it is named and only then. So
the study is always started, and ends at once unless DVC's targets name it. Where they can be read was tried with DVC
3.67.1, on whose inside this file leans; STUDY=run or STUDY=defer in the environment overrides it.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import psutil

from stages.base.failures import BadParams, Failure
from stages.base.git import git
from stages.base.paths import ROOT

NAMES = frozenset(("study", "tune"))
"""The stages whose naming asks for the study."""


def is_asked_for() -> bool:
    """Whether a command names the study or its verdict, or no DVC command stands above this process.

    Raises:
        BadParams: STUDY in the environment is neither run nor defer.
    """
    wanted = os.environ.get("STUDY")
    if wanted:
        if wanted not in ("run", "defer"):
            raise BadParams(f"STUDY: {wanted!r} is not allowed; it must be run or defer")
        return wanted == "run"
    if "DVC_STAGE" not in os.environ:
        return True
    if "DVC_EXP_BASELINE_REV" in os.environ:
        targets = _of_experiment()
    else:
        command = dvc_above()
        words = command.cmdline() if command is not None else []
        targets = targets_of(words) if any(_is_named(word) for word in words) else []  # DVC's parser takes its time
    return any(_is_named(target) for target in targets)


def _is_named(word: str) -> bool:
    return word.rpartition(":")[2] in NAMES


def dvc_above() -> psutil.Process | None:
    """The nearest process above this one that is DVC."""
    with contextlib.suppress(psutil.Error):  # a process above has ended, or is another user's
        for process in psutil.Process().parents():
            with contextlib.suppress(psutil.AccessDenied):
                if arguments_of(process.cmdline()) is not None:
                    return process
    return None


def arguments_of(command: list[str]) -> list[str] | None:
    """What follows `dvc`, `python .../dvc` or `python -m dvc` in a command line; None where it is not DVC's."""
    paths = [PurePath(word.replace("\\", "/")) for word in command]
    start = 1 if paths and paths[0].name.lower().startswith("python") else 0
    if start and command[1:3] == ["-m", "dvc"]:
        return command[3:]
    if paths[start:] and paths[start].name.lower() in ("dvc", "dvc.exe", "dvc-script.py"):
        return command[start + 1 :]
    if paths[start:] and paths[start].parts[-2:] == ("dvc", "__main__.py"):
        return command[start + 1 :]
    return None


def targets_of(command: list[str]) -> list[str]:
    """The targets of a `dvc repro`, read by DVC's own parser: options have values that may look like targets."""
    from dvc.cli import DvcParserError
    from dvc.cli.parser import get_main_parser

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            known, _ = get_main_parser().parse_known_args(arguments_of(command) or [])
    except (DvcParserError, SystemExit):
        return []
    return list(getattr(known, "targets", None) or [])


def _of_experiment() -> list[str]:
    """The targets of a `dvc exp run`, in the workspace, in a temporary folder or from the queue."""
    place = f"{git('rev-parse', '--show-prefix')}.dvc/tmp/repro.dat"
    packed = subprocess.run(
        ["git", "cat-file", "blob", f"refs/exps/exec/EXEC_MERGE:{place}"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        return []
    content = _Plain(io.BytesIO(packed.stdout)).load()
    given = content["kwargs"].get("targets") or (content["args"][0] if content["args"] else None) or []
    return [given] if isinstance(given, str) else list(given)


class _Plain(pickle.Unpickler):
    """Plain containers only: DVC packs nothing else, and nothing else shall be run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"DVC's arguments hold a {module}.{name}")


class Above:
    """The DVC command that started this process, if one did."""

    def __init__(self) -> None:
        self._process = dvc_above() if "DVC_STAGE" in os.environ else None

    def check(self) -> None:
        """Stop with that command: whoever killed it wants to start anew.

        Raises:
            Failure: It is gone.
        """
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            if self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return
        raise Failure("the dvc that started this study is gone; the same command goes on with it")
