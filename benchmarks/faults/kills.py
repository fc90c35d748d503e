"""Start a command, kill one of its processes or all of them, and do what docs/troubleshooting.md says."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.project import Project

LIMIT = 900  # seconds that a command may take
PATIENCE = 60  # seconds in which the processes of a command that was killed must end by themselves


@dataclass(frozen=True)
class Kill:
    """A kill to come.

    Attributes:
        victim: `worker`, `stage`, `dvc`, `git`, or `tree`: the command with all its children.
        moment: The seconds from the start of the command. If there is no such process at that moment, the next one that
            starts is killed.
    """

    victim: str
    moment: float


@dataclass(frozen=True)
class Outcome:
    """The end of a command.

    Attributes:
        status: Its exit status.
        is_killed: Whether one of its processes was killed before it ended.
        left: The number of its processes that were still running a minute after it had ended.
        went_on: The seconds to its first new experiment, or to its end if it made none; None if it was killed before.
    """

    status: int
    is_killed: bool
    left: int
    went_on: float | None


def run(project: Project, command: tuple[str, ...], environment: Mapping[str, str], kill: Kill | None) -> Outcome:
    """Run a command, and kill one of its processes, or all, unless it ends before.

    Args:
        project: The repository.
        command: The command.
        environment: Further variables.
        kill: Which process to kill when; None kills nothing.
    """
    begun, before, went_on, is_killed = time.monotonic(), _experiments(project.root), None, False
    with start(project, command, environment) as started:
        while started.poll() is None:
            elapsed = time.monotonic() - begun
            if elapsed > LIMIT:
                _kill(psutil.Process(started.pid), "tree")
                break
            if went_on is None and not is_killed and _experiments(project.root) != before:
                went_on = elapsed
            if kill is None or is_killed or elapsed <= kill.moment:
                time.sleep(0.1)
                continue
            is_killed = _kill(psutil.Process(started.pid), kill.victim)
            time.sleep(0.002)  # a git process lives for some milliseconds
        status = started.wait()
    if went_on is None and not is_killed:
        went_on = time.monotonic() - begun
    return Outcome(status, is_killed, _end_left(project.root), went_on)


def _experiments(root: Path) -> int:
    """Return the number of experiments of a repository. No process is started for it."""
    return sum(path.is_file() for path in (root / ".git" / "refs" / "exps").glob("[0-9a-f][0-9a-f]/*/*"))


def start(project: Project, command: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, with its output in a file."""
    output = project.root.with_name(f"{project.root.name}.log")
    with output.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=project.root,
            env=project.environment(dict(environment)),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def recover(project: Project) -> None:
    """Do what docs/troubleshooting.md tells after a kill, before the same command is repeated."""
    if project.run("git", "symbolic-ref", "-q", "HEAD", check=False).returncode:
        project.run("git", "switch", "-q", "main")
        project.run("git", "checkout", "-q", "params.yaml")


def _kill(command: psutil.Process, victim: str) -> bool:
    """Kill a process of this kind, and return whether there was one."""
    with suppress(psutil.Error):
        tree = [command, *command.children(recursive=True)]
        targets = tree if victim == "tree" else [process for process in tree if _kind(process) == victim][:1]
        for process in targets:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return bool(targets)
    return False


def _kind(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        words = process.cmdline()
        if words and Path(words[0]).name == "git":
            return "git"
        if any("spawn_main" in word for word in words):
            return "worker"
        if any(Path(word).name == "dvc" for word in words):
            return "dvc"
        if any(word == "stages" or word.startswith("stages.") for word in words):
            return "stage"
    return "other"


def _end_left(root: Path) -> int:
    """Wait until no process works in a repository any more, end those that do not stop, and return their number."""
    deadline = time.monotonic() + PATIENCE
    while processes := list(_processes_in(root)):
        if time.monotonic() > deadline:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return len(processes)
        time.sleep(0.2)
    return 0


def _processes_in(root: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(root):
                yield process
