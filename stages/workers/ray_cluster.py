"""Workers on the machines of a Ray cluster.

The driver, which is the process of the study, keeps Optuna, MLflow, DVC and git. It sends tasks to actors, and saves
what they answer as experiments. The design leans on Ray 2.60: see docs/cluster.md for its faults and their times.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stages.base.failures import Failure
from stages.experiments.origin import Origin
from stages.params.schema import Params
from stages.workers.process import WORK, remove_stale_folders, threads_of

if TYPE_CHECKING:
    from stages.workers.launcher import Worker

SILENCE = 40  # seconds without an answer of the head; after 60, Ray ends this process without a chance to settle trials
BARRED = 15  # seconds for which a machine gets no new worker after it has lost one
MAX_REFUSALS = 3  # workers of one machine that could not start; then the machine is not asked again
PER_MACHINE = 4  # workers on a machine without a GPU, as on the driver's own


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's name of it.
        host: Its host name.
        gpus, cpus: The number that it lends.
    """

    id: str
    host: str
    gpus: int
    cpus: int


@dataclass(frozen=True)
class RayPlace:
    """The resources of one worker on a machine.

    Attributes:
        node: The machine.
        gpus: GPUs, or a share of one.
        cpus: CPU cores; 0 with a GPU.
        threads: The number of threads of a training on a CPU.
    """

    node: Node
    gpus: float
    cpus: int
    threads: int


def places_of(node: Node, device: int | str | None, per_gpu: int) -> list[RayPlace]:
    """Return the places that a machine has for workers, by the rule of the local machine.

    Args:
        node: The machine.
        device: The device in params.yaml, or None. GPU numbers such as `0,1` ask for so many GPUs, and a
            machine without a GPU has no place then.
        per_gpu: The number of workers that share a GPU.
    """
    if node.gpus and device != "cpu":
        wanted = len(str(device).split(",")) if device is not None else 1
        threads = threads_of(max(node.cpus, 1), node.gpus * per_gpu)
        if wanted > 1:
            return [RayPlace(node, wanted, 0, threads)] * (node.gpus // wanted)
        return [RayPlace(node, 1 / per_gpu, 0, threads)] * (node.gpus * per_gpu)
    if device not in (None, "cpu"):
        return []  # the machine has no GPU
    count = min(node.cpus, PER_MACHINE)
    return [RayPlace(node, 0, node.cpus // count, threads_of(node.cpus, count))] * count if count else []


class RayLauncher:
    """Starts workers on all machines of a cluster, also on those that join while the study runs.

    Attributes:
        address: `HEAD:PORT`.
        digest: The digest of the prepared data; empty before the connection.
        models: References to the models in Ray's store.
    """

    def __init__(self, address: str, params: Params, origin: Origin) -> None:
        """Prepare without connecting.

        Args:
            address: `HEAD:PORT`.
            params: params.yaml.
            origin: What the experiments start from.

        Raises:
            Failure: The address is not of this form, or Ray is not installed.
        """
        if not re.fullmatch(r"[\w.\-]+:\d{1,5}", address):
            raise Failure(
                f"RAY_ADDRESS: {address!r} is not allowed; it must be the HEAD:PORT that `ray start --head` printed"
            )
        self.address, self._params, self._origin = address, params, origin
        self.stall = params.tune.stall
        self._device, self._per_gpu, self._most = params.device, params.tune.trials_per_gpu, params.tune.workers
        self._in_use: Counter[str] = Counter()  # workers by machine
        self._barred: dict[str, float] = {}  # the time at which a machine may have workers again
        self._refusals: Counter[str] = Counter()
        self._nodes: list[Node] = []
        self._own_node = ""
        self._answered = 0.0
        self._closed = threading.Event()
        self._connected = False
        self._count = 0
        self.digest = ""
        self.models: dict[tuple[str, int, int], Any] = {}
        self._ray = _import_ray()

    def __enter__(self) -> RayLauncher:
        remove_stale_folders(WORK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._connected and not self._is_silent():
            if self._most:
                self._request([])
            self._ray.shutdown()

    def new_workers(self) -> list[Worker]:
        """Return a worker for each place of the cluster that has none, up to `tune.workers`."""
        from stages.workers.ray_worker import RayWorker

        if not self._connected:
            self._connect()
        workers: list[Worker] = []
        for node in self._nodes:
            if self._barred.get(node.id, 0.0) > time.monotonic() or self._refusals[node.id] >= MAX_REFUSALS:
                continue
            for place in places_of(node, self._device, self._per_gpu)[self._in_use[node.id] :]:
                if self._most and self._in_use.total() >= self._most:
                    return workers
                self._in_use[node.id] += 1
                self._count += 1
                workers.append(RayWorker(self, place, self._count, self._origin))
        return workers

    def check(self) -> None:
        """Raise Failure if the cluster has not answered for SILENCE seconds, or if this machine has left it."""
        if self._is_silent():
            raise Failure(
                f"the head of the Ray cluster at {self.address} has not answered for {SILENCE} s; "
                "when it is back, run the same command to resume"
            )
        if self._connected and all(node.id != self._own_node for node in self._nodes):
            raise Failure(
                "Ray on this machine has ended; start it again with `ray start`, and run the same command to resume"
            )

    def ended(self, place: RayPlace, is_lost: bool, is_refused: bool) -> None:
        """Take back the place of a worker that has ended.

        Args:
            place: Its place.
            is_lost: Whether the machine of the worker was lost. It gets no new worker for BARRED seconds.
            is_refused: Whether the worker could not start.
        """
        self._in_use[place.node.id] -= 1
        self._refusals[place.node.id] += is_refused
        if is_lost or is_refused:
            self._barred[place.node.id] = time.monotonic() + BARRED

    @property
    def can_be_asked(self) -> bool:
        """Return whether Ray answers. If not, a call of it may never return."""
        return not self._is_silent()

    def _connect(self) -> None:
        from stages.workers.shipping import copy_of_code, digest_of_data

        self.digest = digest_of_data()
        ray = self._ray
        with tempfile.TemporaryDirectory(prefix="stages-") as folder:
            copy_of_code(Path(folder), self.digest)
            try:
                ray.init(
                    address=self.address,
                    runtime_env={"working_dir": folder},
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise Failure(
                    f"the Ray cluster at {self.address} cannot be used ({_first_line(error)}). This machine must "
                    f"belong to it: `ray start --address={self.address} --num-cpus=0 --num-gpus=0` joins without "
                    "lending anything. See docs/cluster.md"
                ) from error
        self._connected = True
        self._own_node = ray.get_runtime_context().get_node_id()
        self._look()
        threading.Thread(target=self._watch, daemon=True).start()
        places = [place for node in self._nodes for place in places_of(node, self._device, self._per_gpu)]
        hosts = sorted({place.node.host for place in places})
        print(f"Ray cluster at {self.address}: {len(places)} places on {', '.join(hosts) or 'no machine'}", flush=True)
        if self._most and self._most > len(places):
            self._request([{"GPU": 1} if any(place.gpus for place in places) else {"CPU": 1}] * self._most)

    def _request(self, bundles: list[dict[str, int]]) -> None:
        """Ask the autoscaler for machines, if the cluster has one."""
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=bundles)

    def _look(self) -> None:
        self._nodes = [
            Node(
                node["NodeID"],
                node["NodeManagerHostname"],
                int(node["Resources"].get("GPU", 0)),
                int(node["Resources"].get("CPU", 0)),
            )
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        self._answered = time.monotonic()

    def _watch(self) -> None:
        """Look at the machines every 2 seconds. The call does not return while the head is away."""
        while not self._closed.wait(2):
            with suppress(Exception):  # no answer; `check` tells the study
                self._look()

    def _is_silent(self) -> bool:
        return self._connected and time.monotonic() - self._answered > SILENCE


def _import_ray() -> Any:
    """Import Ray with its usage reports off, and with a token if there is one.

    Raises:
        Failure: Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    token = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if token or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise Failure(
            "RAY_ADDRESS or tune.cluster asks for a Ray cluster, and Ray is not installed: "
            "run `pip install -r requirements-ray.txt` on all machines"
        ) from error
    if os.environ.get("RAY_AUTH_MODE") != "token":
        print(
            "warning: the Ray cluster is used without a token: whoever reaches its ports can run programs on it; "
            "see docs/cluster.md",
            file=sys.stderr,
        )
    return ray


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
