"""Benchmarks: the time of this project's commands, compared with the bare library where there is one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.base.paths import main_root
from stages.experiments.identity import code_digests


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """Yield a new clone of this repository's last commit, and remove it afterwards."""
    cache = main_root() / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
        yield clone


def code_digest() -> str:
    """Return the first 12 digits of a digest of the code that decides the result of a training."""
    code = json.dumps(dict(code_digests()), sort_keys=True)
    return hashlib.sha256(code.encode()).hexdigest()[:12]
