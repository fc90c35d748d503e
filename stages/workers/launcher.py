"""Start workers on this machine, or on the machines of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Protocol

from stages.experiments.origin import Origin
from stages.params.schema import Params
from stages.workers.messages import Message, Task
from stages.workers.process import LocalLauncher, places


class Worker(Protocol):
    """A worker, as the pool sees it: it runs one training after another.

    Attributes:
        is_ready: Whether it can take a task. If not, its first message is Ready, or Failed.
        card: The GPU that it shares with other workers; empty if it shares none.
    """

    is_ready: bool
    card: str

    @property
    def connection(self) -> Connection:
        """A connection on which the pool can wait for the next message."""

    def send(self, task: Task) -> None:
        """Give the worker a task."""

    def receive(self) -> Message:
        """Return the next message, or Failed if the worker has died."""

    def answer(self, stop: bool) -> None:
        """Answer EpochEnded: whether to stop the training."""

    def restart(self) -> None:
        """Make the worker ready for the next task after a failure that may have damaged its process."""

    def end(self) -> None:
        """End the worker at once. Its place can have a new worker then."""


class Launcher(Protocol):
    """A source of workers. Use it in a `with` statement.

    Attributes:
        stall: The seconds without a message after which a training counts as hung; None for never.
    """

    stall: float | None

    def __enter__(self) -> Launcher: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def new_workers(self) -> Sequence[Worker]:
        """Return a worker for each place that has none. Machines may join at any time."""

    def check(self) -> None:
        """Raise Failure if no worker can be used any more."""


def open_launcher(params: Params, origin: Origin) -> Launcher:
    """Return the source of workers for these parameters.

    It is the Ray cluster of RAY_ADDRESS in the environment or of `tune.cluster`, and this machine if neither is set.

    Args:
        params: params.yaml.
        origin: What the experiments start from.

    Raises:
        Failure: The cluster cannot be used.
    """
    tune = params.tune
    address = os.environ.get("RAY_ADDRESS") or tune.cluster
    if not address:
        return LocalLauncher(places(tune.workers, params.device, tune.trials_per_gpu), origin, tune.stall)
    from stages.workers.ray_cluster import RayLauncher  # Ray is an extra, and takes a second to import

    return RayLauncher(address, params, origin)
