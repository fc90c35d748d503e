"""Whose a running trial is, and whether that process is still there."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime

import psutil
from optuna.trial import FrozenTrial

from stages.base import paths
from stages.base.files import write_atomic
from stages.services import storage


def machine_name() -> str:
    """A name of this machine and this repository: machines may share a name, or a folder."""
    file = paths.STUDIES / "machine"
    if not file.is_file():
        write_atomic(file, uuid.uuid4().hex[:8])
    return f"{socket.gethostname()}-{file.read_text(encoding='utf-8')}"


def myself() -> str:
    return f"{machine_name()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def is_gone(trial: FrozenTrial) -> bool:
    """Whether a running trial's process is known to be gone: one of this machine, or one that never named itself."""
    machine, _, process = trial.user_attrs.get("owner", "").partition("/")
    if not machine:
        begun = trial.datetime_start
        return begun is None or (datetime.now(begun.tzinfo) - begun).total_seconds() > storage.GRACE
    if machine != machine_name():
        return False
    pid, _, born = process.partition("/")
    try:
        return abs(psutil.Process(int(pid)).create_time() - int(born)) > 60  # another process with this number
    except psutil.NoSuchProcess:
        return True
