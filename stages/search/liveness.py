"""Which process runs a trial, and whether that process is alive."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime

import psutil
from filelock import FileLock
from optuna.trial import FrozenTrial

from stages.base import paths
from stages.base.files import write_atomic
from stages.services import storage


def machine_name() -> str:
    """Return a name of this machine and this repository: machines may share a host name, or a folder."""
    file = paths.STUDIES / "machine"
    if not file.is_file():
        paths.STUDIES.mkdir(exist_ok=True)
        with FileLock(paths.STUDIES / "machine.lock"):
            if not file.is_file():
                write_atomic(file, uuid.uuid4().hex[:8])
    return f"{socket.gethostname()}-{file.read_text(encoding='utf-8')}"


def process_name() -> str:
    """Return a name of this process: its machine, its number, and the time of its start."""
    return f"{machine_name()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def has_ended(trial: FrozenTrial) -> bool:
    """Return whether the process of a running trial has certainly ended.

    Only a process of this machine can be looked up. If a trial does not name its process, the grace period decides:
    the process was killed before it could write the name.
    """
    machine, _, process = trial.user_attrs.get("owner", "").partition("/")
    if not machine:
        begun = trial.datetime_start
        return begun is None or (datetime.now(begun.tzinfo) - begun).total_seconds() > storage.GRACE
    if machine != machine_name():
        return False
    pid, _, started = process.partition("/")
    try:
        return abs(psutil.Process(int(pid)).create_time() - int(started)) > 60  # another process with this number
    except psutil.NoSuchProcess:
        return True
