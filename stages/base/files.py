"""Write files atomically, and compare them by MD5."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a file. A reader sees the old content or the new, never a part, even if this process is killed.

    Args:
        path: The file. Its folder is made.
        content: Text is written as UTF-8.
        private: Let only the user read and write the file, where the system has such modes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not private:  # mkstemp has made a private file
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def md5(path: Path) -> str:
    """Return the MD5 of a file as DVC writes it in dvc.lock: 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
