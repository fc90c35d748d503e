"""Measurements, in pairs: this project beside the bare library that does the work."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.base.paths import main_root


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """A clone of what is committed, for as long as it is needed."""
    kept = main_root() / ".cache"
    kept.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(main_root()), str(clone)], check=True)
        yield clone
