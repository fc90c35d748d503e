"""Folders, file systems, and the digests of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

Mount = Callable[[str], Path]  # mounts a small file system in memory with these options, as the fixture `mount` does


def fingerprint(folder: Path) -> dict[str, str]:
    """Digest of each file of a folder, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
