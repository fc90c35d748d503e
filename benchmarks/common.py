"""What the benchmarks share: commands in clean repositories, parameters as they were delivered, bare trainings."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.paths import main_root
from stages.experiments.identity import code_digests, digest_of
from stages.params import file as params_file
from stages.params.preset import file_of, with_preset

SERVICES = ("AWS_", "DVC_", "MLFLOW_", "OPTUNA_", "PGPASSWORD", "RAY_", "STUDY")
"""The variables that name the services of a team, or change what a command does, begin like this."""


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command that must use neither the services of a team nor the network.

    Args:
        variables: Further variables.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SERVICES)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # dvc.yaml calls `python`
    author = {f"GIT_{who}_{what}": "benchmark" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **author, "PATH": path, "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", **(variables or {})}


def run(
    command: list[str], folder: Path, variables: Mapping[str, str] | None = None, limit: float | None = None
) -> str:
    """Run Python with these arguments in a folder, and return what it prints.

    Args:
        command: The arguments.
        folder: The working directory.
        variables: Further variables of its environment.
        limit: The seconds that it may take; None for no limit.

    Raises:
        Failure: It ended with an error, or took longer. The text has the last line that it printed.
    """
    name = " ".join(command) if "-c" not in command else "the measured code"
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment(variables),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} did not end in {limit:.0f} s") from None
    if done.returncode:
        raise Failure(f"{name} ended with status {done.returncode}: {last_line(done.stdout + done.stderr)}")
    return done.stdout


def seconds(command: list[str], folder: Path, variables: Mapping[str, str] | None = None) -> float:
    """Run a command as `run` does, and return the seconds that it took."""
    begun = time.perf_counter()
    run(command, folder, variables)
    return time.perf_counter() - begun


def last_line(output: str) -> str:
    """Return the last line of an output that is not empty."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it printed nothing")


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a new folder in this repository, and remove it afterwards."""
    cache = main_root() / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield Path(folder)


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """Yield a new clone of this repository's last commit, and remove it afterwards."""
    with scratch() as folder:
        clone = folder / "clone"
        subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
        yield clone


def delivered(preset: str = "drawn") -> dict[str, Any]:
    """Return the content of params.yaml as it was delivered, with a preset: nobody's own values are in it."""
    text = params_file.PARAMS.read_text(encoding="utf-8")
    for name in ("drawn", preset):
        text = with_preset(text, file_of(name).read_text(encoding="utf-8"))
    return params_file.parsed(text, "params.yaml")


def code_digest(*stages: str) -> str:
    """Return the first 12 digits of a digest of the code that decides the results of these stages."""
    digests = {path: digest for stage in stages for path, digest in code_digests(stage).items()}
    return digest_of(digests)


def bare_training(arguments: Mapping[str, Any], data: Path, out: Path, threads: int | None = None) -> list[str]:
    """Return the arguments of Python for a training by Ultralytics alone, without plots.

    Args:
        arguments: The training arguments of this project.
        data: The folder of the prepared data.
        out: The folder for the results.
        threads: The number of threads on a CPU; None for Ultralytics' own number.
    """
    rest = {key: value for key, value in arguments.items() if key not in ("model", "head")}
    rest |= {"data": str(data / "data.yaml"), "project": str(out), "plots": False, "verbose": False}
    code = "from ultralytics import YOLO\nfrom ultralytics.utils import torch_utils\n"
    code += f"torch_utils.NUM_THREADS = {threads}\n" if threads else ""
    return ["-c", f"{code}YOLO({arguments['model']!r}).train(**{rest!r})"]


def at_least_one(text: str) -> int:
    """Return a number of a command line.

    Raises:
        ArgumentTypeError: It is no whole number, or below 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
