"""On a machine of a Ray cluster: the actor that holds a training process, and the files that the machine keeps.

The machine has Python packages and nothing else: no repository, no DVC, no credentials. The code comes with Ray's
working directory. The prepared data come in shards, once per machine, and stay in its cache for later studies.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.base.files import write_atomic
from stages.base.paths import BEST_MODEL, DATA, ROOT
from stages.workers.messages import Done, Message, Task
from stages.workers.process import TrainingProcess, folder_name, remove_stale_folders
from stages.workers.training import serve

CACHE = Path(os.environ.get("PERSON_DETECTION_CACHE") or Path.home() / ".cache" / "person-detection")
"""The folder that this machine keeps between studies. A folder that machines share works too."""

KEEP = 30 * 24 * 3600  # seconds without use after which the data of a study are removed
PARTIAL = 24 * 3600  # seconds after which data that never became whole are removed


@dataclass(frozen=True)
class Model:
    """A file of weights or of an architecture that a training starts from.

    Attributes:
        name: The name of the file.
        content: The bytes of the file.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Answer:
    """The answer of an actor to a task, or to the answer to an epoch.

    Attributes:
        message: The next message of the training process.
        files: The results, if the task is done: the content of each file by its path in the repository.
        log: What the training has printed since the last answer.
    """

    message: Message
    files: dict[str, bytes]
    log: bytes


class RayTrainer:
    """An actor: one worker on this machine. Each call returns when the training process has its next message."""

    def __init__(self, digest: str, threads: int) -> None:
        """Prepare the folders of this worker.

        Args:
            digest: The digest of the prepared data.
            threads: The number of threads of a training on a CPU.
        """
        remove_stale_folders(CACHE / "work")
        remove_old_data(CACHE / "data", digest)
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it; a worker of the driver's machine does not have it
        self._data = CACHE / "data" / digest
        self._partial: Path | None = None
        self._folder = CACHE / "work" / folder_name(0)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._main = partial(_main, self._folder, threads)
        self._process: TrainingProcess | None = None
        self._log = self._folder / "log"
        self._read = 0

    def has_data(self) -> bool:
        """Return whether this machine has the data, and if so, let trainings use them."""
        if not self._data.is_dir():
            return False
        with suppress(OSError):  # a shared folder may be read-only
            os.utime(self._data)
        DATA.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another worker was faster; the code's folder belongs to these data alone
            DATA.symlink_to(self._data, target_is_directory=True)
        return True

    def take_shard(self, shard: bytes, digest: str) -> None:
        """Add a part of the data.

        Args:
            shard: A zip archive.
            digest: Its SHA-256, in hexadecimal.
        """
        if hashlib.sha256(shard).hexdigest() != digest:
            raise OSError("a part of the data was damaged on its way")
        if self._partial is None:
            self._partial = self._data.with_name(f"{self._data.name}.{uuid.uuid4().hex[:8]}.partial")
            self._partial.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(shard)) as archive:
            archive.extractall(self._partial)

    def complete_data(self, files: int) -> None:
        """Put the data in their place when all parts are there.

        Args:
            files: The number of files of the data.
        """
        assert self._partial is not None
        count = sum(path.is_file() for path in self._partial.rglob("*"))
        if count != files:
            raise OSError(f"{count} of {files} files of the data have arrived")
        try:
            self._partial.rename(self._data)
        except OSError:  # another study was faster
            shutil.rmtree(self._partial)
        self._partial = None

    def gpus(self) -> str:
        """Return the GPUs that Ray gave to this actor, as text."""
        import ray

        return ",".join(map(str, ray.get_gpu_ids()))

    def step(self, message: Task | bool, model: Model | None = None) -> Answer:
        """Give the training process a task or an answer, and return its next message.

        Args:
            message: A task, or whether to stop the training.
            model: The file that the task starts from, unless it is an architecture of Ultralytics.
        """
        if self._process is None:
            self._process = _started(self._main)
        self._process.send(self._here(message, model) if isinstance(message, Task) else message)
        answer = self._process.receive()
        files = _content(self._folder / "files") if isinstance(answer, Done) else {}
        return Answer(answer, files, self._printed())

    def restart(self) -> None:
        """End the training process. The next task starts a new one."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _here(self, task: Task, model: Model | None) -> Task:
        """Return a task with the paths of this machine."""
        arguments = {**task.arguments, "device": own_device(task.arguments.get("device"))}
        if model is not None:
            path = ROOT / ".models" / hashlib.sha256(model.content).hexdigest()[:16] / model.name
            if not path.is_file():
                write_atomic(path, model.content)
            arguments = {**arguments, "model": str(path)}
        return replace(task, arguments=arguments, log=self._log)

    def _printed(self) -> bytes:
        with suppress(FileNotFoundError), self._log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
            self._read += len(text)
            return text
        return b""


def own_device(device: int | str | None) -> int | str | None:
    """Return a device of params.yaml as an actor must name it: an actor sees only its own GPUs, numbered from 0."""
    numbers = str(device).split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        return device
    return ",".join(map(str, range(len(numbers)))) if len(numbers) > 1 else 0


class _Folder:
    """The folder of the trainings of one worker. The driver saves what is in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, DATA

    def clear(self, values: Mapping[str, Any]) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / BEST_MODEL).parent.mkdir(parents=True)

    def save(self, name: str, stages: Sequence[str]) -> None:
        pass


def _main(folder: Path, threads: int, connection: Connection) -> None:
    serve(connection, {}, threads, lambda: _Folder(folder / "files"))


def _started(main: partial[None]) -> TrainingProcess:
    """Start a training process. It must not import Ray's own main module again, as `spawn` would do."""
    ours = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return TrainingProcess(main)
    finally:
        sys.modules["__main__"] = ours


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def remove_old_data(folder: Path, digest: str) -> None:
    """Remove data that no study has used for a long time, and data that never became whole.

    Args:
        folder: The folder of the data of all studies.
        digest: The data of the present study, which stay.
    """
    now = time.time()
    for path in folder.glob("*"):
        with suppress(OSError):  # another worker is removing it, or the folder is read-only
            age = now - path.stat().st_mtime
            if path.name != digest and age > (PARTIAL if path.suffix == ".partial" else KEEP):
                shutil.rmtree(path)
