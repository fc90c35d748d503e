"""The dvc command that started this process, and whether it asks for the study.

DVC walks every stage on `dvc repro` and `dvc exp run`, and it has no stage that runs only if the command names it. So
stage study always starts, and ends at once unless the targets of the dvc command name it. Where DVC keeps its targets
was tested with DVC 3.67.1; this file depends on its internals. STUDY=run or STUDY=defer in the environment overrides
the answer.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import psutil

from stages.base.failures import BadParams, Failure
from stages.base.git import git
from stages.base.paths import ROOT
from stages.base.processes import end_after

STAGES = frozenset(("study", "tune"))
"""A command that names one of these stages asks for the study."""


@dataclass(frozen=True)
class Request:
    """The answer to the question whether a command asks for the study.

    Attributes:
        is_for_study: The answer.
        source: The setting or the command that decided it, for a message to the user.
    """

    is_for_study: bool
    source: str


def read_request() -> Request:
    """Return whether a command asks for the study: it names the stages study or tune, or no DVC command runs above.

    Raises:
        BadParams: STUDY in the environment is neither run nor defer.
    """
    override = os.environ.get("STUDY")
    if override:
        if override not in ("run", "defer"):
            raise BadParams(f"STUDY: {override!r} is not allowed; it must be run or defer")
        return Request(override == "run", f"STUDY={override} is set")
    if "DVC_STAGE" not in os.environ:
        return Request(True, "no dvc command started this stage")
    if "DVC_EXP_BASELINE_REV" in os.environ:
        return _request_of("dvc exp run", targets_of_experiment())
    command = find_dvc()
    if command is None:
        return Request(False, "the dvc command that started this stage could not be read")
    words = command.cmdline()
    if any(_is_named(word) for word in words):  # DVC's parser takes a second to import
        return _request_of("dvc repro", targets_of(words))
    return Request(False, f"the command was `{' '.join(['dvc', *(arguments_of(words) or [])])}`")


def is_asked_for() -> bool:
    """Return whether a command asks for the study.

    Raises:
        BadParams: STUDY in the environment is neither run nor defer.
    """
    return read_request().is_for_study


def _request_of(command: str, targets: Sequence[str]) -> Request:
    listed = f"the targets {', '.join(targets)}" if targets else "no targets"
    return Request(any(_is_named(target) for target in targets), f"`{command}` had {listed}")


def _is_named(word: str) -> bool:
    return word.rpartition(":")[2] in STAGES


def find_dvc() -> psutil.Process | None:
    """Return the nearest parent process that is DVC."""
    with contextlib.suppress(psutil.Error):  # a parent has ended, or belongs to another user
        for process in psutil.Process().parents():
            with contextlib.suppress(psutil.AccessDenied):
                if arguments_of(process.cmdline()) is not None:
                    return process
    return None


def arguments_of(command: list[str]) -> list[str] | None:
    """Return the words after `dvc`, `python .../dvc` or `python -m dvc`; None if the command is not DVC."""
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
    """Return the targets of a `dvc repro`. DVC's own parser reads them: the value of an option may look like one."""
    from dvc.cli import DvcParserError
    from dvc.cli.parser import get_main_parser

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            options, _ = get_main_parser().parse_known_args(arguments_of(command) or [])
    except (DvcParserError, SystemExit):
        return []
    return list(getattr(options, "targets", None) or [])


def targets_of_experiment() -> list[str]:
    """Return the targets of a `dvc exp run`, whether it runs in the workspace, in a temporary folder or from the queue.

    DVC 3.67 pickles the arguments of the command, and commits them to refs/exps/exec/EXEC_MERGE.
    """
    path = f"{git('rev-parse', '--show-prefix')}.dvc/tmp/repro.dat"
    packed = subprocess.run(
        ["git", "cat-file", "blob", f"refs/exps/exec/EXEC_MERGE:{path}"], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        return []
    content = _PlainUnpickler(io.BytesIO(packed.stdout)).load()
    targets = content["kwargs"].get("targets") or (content["args"][0] if content["args"] else None) or []
    return [targets] if isinstance(targets, str) else list(targets)


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler of plain containers only: DVC packs nothing else, and a pickle must not run any code here."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"DVC's arguments hold a {module}.{name}")


def end_with_command() -> None:
    """End this process, with those that it has started, as soon as the DVC command that started it has ended.

    DVC ends no stage when it is killed. The stage would go on, and the next command would start a second one that
    writes to the same files.
    """
    command = ParentCommand()
    if command.is_known:
        end_after(command.wait)


class ParentCommand:
    """The DVC command that started this process, if one did."""

    def __init__(self) -> None:
        self._process = find_dvc() if "DVC_STAGE" in os.environ else None

    @property
    def is_known(self) -> bool:
        return self._process is not None

    def wait(self) -> None:
        """Return when the DVC command has ended."""
        with suppress(Failure):
            while True:
                self.check()
                time.sleep(1)

    def check(self) -> None:
        """Stop this process if the DVC command has ended: a user who kills the command expects the study to stop.

        Raises:
            Failure: The DVC command has ended.
        """
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            if self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return
        raise Failure("the dvc process that started this study has ended; run the same command to resume")
