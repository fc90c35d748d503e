"""The messages between a study and its workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.params.schema import Threshold


@dataclass(frozen=True)
class Place:
    """The resources of one worker.

    Attributes:
        environment: Variables that the worker sets. They show it its GPU alone.
        threads: The number of its threads on a CPU.
        card: The GPU that the worker shares with others; empty if it shares none.
    """

    environment: dict[str, str]
    threads: int
    card: str = ""


@dataclass(frozen=True)
class Task:
    """A training that a worker runs and saves as an experiment.

    Attributes:
        name: The name of the experiment.
        values: The keys in which its params.yaml differs from that of the origin, with their values.
        arguments: All training arguments.
        log: The file for the output of the training.
        classes: The names of the classes, if the model is also evaluated on the test split; else empty.
        threshold: `evaluate.threshold` of params.yaml, for that evaluation.
    """

    name: str
    values: dict[str, Any]
    arguments: dict[str, Any]
    log: Path
    classes: tuple[str, ...] = ()
    threshold: Threshold = "f1"

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose results the experiment has."""
        return ("train", "evaluate") if self.classes else ("train",)


# From the worker. Seconds are those since the start of the task.


@dataclass(frozen=True)
class Ready:
    """The worker can take a task."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch has ended. The worker waits for an answer: whether to stop the training.

    Attributes:
        number: The number of the epoch, from 1.
        metrics: On the validation split.
    """

    number: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Done:
    """The model is trained, and the run is saved as an experiment of DVC.

    Attributes:
        metrics: On the validation split, rounded to five digits; and ms_per_image and model_mb.
        train_seconds: Of the training alone.
    """

    metrics: dict[str, float]
    train_seconds: float


@dataclass(frozen=True)
class Stopped:
    """The training was stopped by the answer to EpochEnded."""

    seconds: float


@dataclass(frozen=True)
class Failed:
    """The training failed, or its worker has died.

    Attributes:
        kind: `out of memory`, `not a number`, `refused` or `crashed`; `stalled`, if the training reported nothing for
            `tune.stall` seconds; or `lost`, if the machine of the worker is gone.
        reason: For the user.
        seconds: How long the task has taken; 0 if the worker has died.
    """

    kind: str
    reason: str
    seconds: float


Outcome = Done | Stopped | Failed
Message = Ready | EpochEnded | Outcome
