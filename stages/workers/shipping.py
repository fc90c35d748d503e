"""Pack the files that the driver sends to machines of a cluster: code, prepared data, and the file of a model.

Ray is an extra, so only functions that need it import it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.paths import DATA, ROOT
from stages.detector.weights import model_file
from stages.workers.messages import Task
from stages.workers.ray_node import Model

SHARD = 16_000_000  # bytes of files in a part of the data: parts of 16 MB were faster than those of 64 MB

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

Models = dict[tuple[str, int, int], Any]
"""References to the models in Ray's store, by path, size and time."""


def digest_of_data() -> str:
    """Return the digest of data/prepared."""
    return str(json.loads((DATA / "summary.json").read_text(encoding="utf-8"))["digest"])


def copy_of_code(folder: Path, digest: str) -> None:
    """Copy the code into a folder, which Ray unpacks on each machine.

    The digest of the data is a file in it, so that studies of other data have another folder there: each folder has a
    link to its data.
    """
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data.digest").write_text(digest, encoding="utf-8")


@contextmanager
def one_at_a_time(node: str) -> Iterator[None]:
    """Let one worker of a machine look for the data, and send them. The others find them then."""
    with _locks[node]:
        yield


def send_data(actor: Any) -> None:
    """Send the prepared data to an actor, one part at a time, and let it use them.

    Raises:
        RayError: The machine was lost, or its disk is full.
        Failure: The machine could not put the data in their place.
    """
    import ray

    files = sorted(path for path in DATA.rglob("*") if path.is_file())
    for shard in shards(DATA, files):
        ray.get(actor.take_shard.remote(ray.put(shard), hashlib.sha256(shard).hexdigest()))
    ray.get(actor.complete_data.remote(len(files)))
    if not ray.get(actor.has_data.remote()):
        raise Failure("the data have arrived and cannot be found")


def shards(folder: Path, files: list[Path], size: int = SHARD) -> Iterator[bytes]:
    """Yield zip archives of files, each of about `size` bytes. Paths in them are relative to the folder."""
    waiting = deque(files)
    while waiting:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:  # images do not get smaller
            while waiting and buffer.tell() < size:
                file = waiting.popleft()
                archive.write(file, file.relative_to(folder).as_posix())
        yield buffer.getvalue()


def model_of(task: Task, models: Models) -> Any:
    """Return a reference to the file that a task starts from, or None if it is an architecture of Ultralytics.

    Args:
        task: The task.
        models: The models that are in Ray's store. A new one is added.

    Raises:
        Failure: The file does not exist or cannot be downloaded.
    """
    import ray

    file = Path(model_file(task.arguments["model"]))
    if not file.is_file():
        return None
    facts = file.stat()
    key = (str(file), facts.st_size, facts.st_mtime_ns)
    if key not in models:
        models[key] = ray.put(Model(file.name, file.read_bytes()))
    return models[key]
