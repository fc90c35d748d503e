"""A worker on a machine of a Ray cluster, as the pool sees it."""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.experiments.origin import Origin
from stages.experiments.workshop import Workshop
from stages.workers import shipping
from stages.workers.messages import Done, Failed, Message, Ready, Task
from stages.workers.process import WORK, folder_name
from stages.workers.ray_cluster import RayLauncher, RayPlace
from stages.workers.ray_node import Answer, RayTrainer
from stages.workers.training import output_to

ANSWER = 120  # seconds for the bytes of an answer that is ready on its machine


class RayWorker:
    """A worker on another machine. Its connection has a byte for each answer that has arrived.

    The pool can wait on that connection as on the connection of a local process.
    """

    def __init__(self, launcher: RayLauncher, place: RayPlace, number: int, origin: Origin) -> None:
        """Start the actor, and send it the data if its machine does not have them.

        Args:
            launcher: The launcher.
            place: The machine and the resources.
            number: Of this worker, for the name of its folder.
            origin: What its experiments start from.
        """
        self.card, self.is_ready = "", False
        self.connection, self._other_end = Pipe()
        self._launcher, self._place, self._origin = launcher, place, origin
        self._folder = WORK / folder_name(number)
        self._workshop: Workshop | None = None
        self._future: Future[Answer] | None = None
        self._failure: Failed | None = None
        self._has_ended = False
        self._actor: Any = (
            ray.remote(RayTrainer)
            .options(
                num_cpus=place.cpus,
                num_gpus=place.gpus,
                scheduling_strategy=NodeAffinitySchedulingStrategy(place.node.id, soft=False),
            )
            .remote(launcher.digest, place.threads)
        )
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        try:
            gpus = ray.get(self._actor.gpus.remote())  # returns when the actor has its resources
            if 0 < self._place.gpus < 1:
                self.card = f"{self._place.node.id} {gpus}"
            with shipping.one_at_a_time(self._place.node.id):
                if not ray.get(self._actor.has_data.remote()):
                    shipping.send_data(self._actor)
        except (RayError, OSError, Failure) as error:
            reason = " ".join(str(error).split())[-300:]
            self._failure = Failed("lost", f"{self._place.node.host} could not be prepared: {reason}", 0.0)
        self._signal()

    def _signal(self) -> None:
        with suppress(OSError):  # the worker has been ended
            self._other_end.send_bytes(b".")

    def send(self, task: Task) -> None:
        """Give the worker a task."""
        self._task = task
        try:
            model = shipping.model_of(task, self._launcher.models)
        except Failure as failure:
            self._failure = Failed("refused", str(failure), 0.0)
            self._signal()
            return
        self._step(task, model)

    def answer(self, stop: bool) -> None:
        """Answer EpochEnded: whether to stop the training."""
        self._step(stop, None)

    def _step(self, message: Task | bool, model: Any) -> None:
        self._future = self._actor.step.remote(message, model).future()
        self._future.add_done_callback(lambda _: self._signal())

    def receive(self) -> Message:
        """Return the worker's next message. This is Ready at first, and Failed if the machine is lost."""
        self.connection.recv_bytes()
        failure, self._failure = self._failure, None
        if failure is not None:
            return self._lost(failure) if failure.kind == "lost" else failure
        if not self.is_ready:
            self.is_ready = True
            return Ready()
        assert self._future is not None
        try:
            answer = self._future.result(ANSWER)
        except (RayError, TimeoutError) as error:
            reason = f"the machine {self._place.node.host} was lost ({type(error).__name__})"
            return self._lost(Failed("lost", reason, 0.0))
        if answer.log:
            self._task.log.parent.mkdir(parents=True, exist_ok=True)
            with self._task.log.open("ab") as file:
                file.write(answer.log)
        if isinstance(answer.message, Done):
            return self._saved(answer.message, answer.files)
        return answer.message

    def _saved(self, done: Done, files: Mapping[str, bytes]) -> Message:
        """Save the results as an experiment of DVC, as a local worker does itself."""
        with output_to(self._task.log):  # DVC prints what it does
            try:
                if self._workshop is None:
                    self._workshop = Workshop(self._folder / "files", self._origin)
                self._workshop.clear(self._task.values)
                for name, content in files.items():
                    write_atomic(self._workshop.root / name, content)
                self._workshop.save(self._task.name, self._task.stages)
            except Failure as failure:
                return Failed("refused", str(failure), done.train_seconds)
            except Exception as error:  # the study decides whether to go on
                traceback.print_exc()
                return Failed("crashed", f"{type(error).__name__}: {error}", done.train_seconds)
        return done

    def _lost(self, failure: Failed) -> Failed:
        if self.is_ready:
            self._launcher.ended(self._place, is_lost=True, is_refused=False)
        else:
            print(f"{failure.reason}", flush=True)
            self._launcher.ended(self._place, is_lost=False, is_refused=True)
        self._has_ended = True
        return failure

    def restart(self) -> None:
        """End the training process on the machine. The next task starts a new one."""
        self._actor.restart.remote()

    def end(self) -> None:
        """End the actor and its training at once."""
        if self._launcher.can_be_asked:
            with suppress(RayError):  # its machine is gone
                ray.kill(self._actor)
        if not self._has_ended:
            self._has_ended = True
            self._launcher.ended(self._place, is_lost=False, is_refused=False)
        self.connection.close()
        self._other_end.close()
        shutil.rmtree(self._folder, ignore_errors=True)
