"""End processes together with the process that started them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process

import psutil


def end_with_parent() -> None:
    """End this process as soon as its parent process has ended. Otherwise it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        end_after(parent.join)


def end_after(wait: Callable[[], None]) -> None:
    """End this process, with those that it has started, as soon as a function has returned."""

    def end() -> None:
        wait()
        end_children(psutil.Process())
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def end_children(process: psutil.Process) -> None:
    """Kill all processes below a process: a training on several GPUs has processes of its own."""
    with suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
