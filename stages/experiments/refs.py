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
def checkout(revision: str) -> Iterator[Path]:
    """Yield a temporary folder with params.yaml, dvc.lock and reports/ as they are in a commit.

    Raises:
        Incomplete: The commit does not have all of them.
    """
    paths = ("params.yaml", "dvc.lock", "reports")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision, *paths], cwd=main_root(), capture_output=True, check=False
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
    """Return DVC's finished experiments by name: the commit of each, and the commit that it started from.

    Experiments are sorted by age. If two have the same name, the newer one is returned.
    """
    form = ("--sort=committerdate", "--format=%(refname) %(objectname)")
    lines = git("for-each-ref", *form, "refs/exps", root=main_root()).splitlines()
    experiments = {}
    for reference, revision in (line.split() for line in lines):
        parts = reference.split("/")  # refs/exps/<2 digits of the base>/<the rest of it>/<name>
        if len(parts) == 5 and len(parts[2]) == 2:
            experiments[parts[4]] = revision, parts[2] + parts[3]
    return experiments


def model_file(folder: Path) -> Path | None:
    """Return the file in DVC's cache that holds the weights of a run; None if this machine does not have it.

    Args:
        folder: A folder with the dvc.lock of the run.

    Raises:
        Incomplete: There is no dvc.lock, or it does not contain the weights.
    """
    path = Path(_cache().oid_to_path(weights_digest(folder)))
    return path if path.is_file() else None


@cache
def _cache() -> Any:
    from dvc.repo import Repo  # takes a second to import, and only a later mirror needs it

    with Repo(main_root()) as repo:
        return repo.cache.local
