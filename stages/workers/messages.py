"""What a worker is told and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a worker trains: the environment that shows it its GPU alone, and its threads on a CPU."""

    environment: dict[str, str]
    threads: int


@dataclass(frozen=True)
class Task:
    """A run to make.

    Attributes:
        name: Of its experiment.
        values: Of the keys in which its params.yaml differs from the one of the origin.
        arguments: All training arguments.
        log: A file for what the training prints.
        classes: Names of the classes where the model is measured on the test split too, else nothing.
    """

    name: str
    values: dict[str, Any]
    arguments: dict[str, Any]
    log: Path
    classes: tuple[str, ...] = ()


# What a worker tells. Seconds are those since the task was begun.


@dataclass(frozen=True)
class EpochEnded:
    """Answered by whether the training is to be stopped."""

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Done:
    """The model is trained, and the run an experiment of DVC."""

    metrics: dict[str, float]
    train_seconds: float


@dataclass(frozen=True)
class Stopped:
    """The training was stopped, as the answer to an epoch asked for."""

    seconds: float


@dataclass(frozen=True)
class Failed:
    """The training failed: `out of memory`, `not a number`, `refused`, or `crashed`."""

    kind: str
    reason: str
    seconds: float


Over = Done | Stopped | Failed
Told = EpochEnded | Over
