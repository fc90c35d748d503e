"""DVC's finished experiments: commits under refs/exps, and their files."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stages.base.git import git
from stages.base.paths import main_root
from stages.experiments.lock import Incomplete, weights_digest


@contextmanager
def kept(revision: str) -> Iterator[Path]:
    """A temporary folder with params.yaml, dvc.lock and reports/ as they are in a commit.

    Raises:
        Incomplete: The commit lacks one of them.
    """
    wanted = ("params.yaml", "dvc.lock", "reports")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision, *wanted], cwd=main_root(), capture_output=True, check=False
    )
    if archive.returncode:
        raise Incomplete(f"{revision[:7]}: {archive.stderr.decode(errors='replace').strip()}")
    scratch = main_root() / ".dvc" / "tmp"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
            content.extractall(folder, filter="data")
        yield Path(folder)


def experiments() -> dict[str, tuple[str, str]]:
    """DVC's finished experiments by name: the commit of each, and the commit that it started from."""
    form = ("--sort=committerdate", "--format=%(refname) %(objectname)")  # of two with one name, the newer counts
    lines = git("for-each-ref", *form, "refs/exps", root=main_root()).splitlines()
    found = {}
    for reference, revision in (line.split() for line in lines):
        parts = reference.split("/")  # refs/exps/<2 digits of the base>/<the rest of it>/<name>
        if len(parts) == 5 and len(parts[2]) == 2:
            found[parts[4]] = revision, parts[2] + parts[3]
    return found


def model_file(folder: Path) -> Path | None:
    """The weights that a dvc.lock names, in DVC's cache; None where this machine does not have them.

    Raises:
        Incomplete: There is no dvc.lock, or it names none.
    """
    path = Path(_cache().oid_to_path(weights_digest(folder)))
    return path if path.is_file() else None


@cache
def _cache() -> Any:
    from dvc.repo import Repo  # takes a second, and only a mirror made later needs it

    with Repo(main_root()) as repo:
        return repo.cache.local
