"""Benchmarks: the time of this project's commands, compared with the bare library where there is one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.base.paths import main_root


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """Yield a new clone of this repository's last commit, and remove it afterwards."""
    cache = main_root() / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
        yield clone
