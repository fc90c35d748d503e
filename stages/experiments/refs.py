"""DVC's finished experiments: commits under refs/exps, and their files."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from stages.base.files import md5
from stages.base.git import git
from stages.base.paths import MODEL, ROOT, main_root
from stages.experiments.lock import Incomplete, weights_digest

STALE = 2.0  # seconds


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Yield a temporary folder with params.yaml, dvc.lock and reports/ as they are in a commit.

    Raises:
        Incomplete: The commit does not have all of them.
    """
    paths = ("params.yaml", "dvc.lock", "reports")
    archive = subprocess.run(
        ["git", "archive", "--format=zip", revision, *paths], cwd=main_root(), capture_output=True, check=False
    )
    if archive.returncode:
        reason = archive.stderr.decode(errors="replace").strip() or f"git ended with status {archive.returncode}"
        raise Incomplete(f"{revision[:7]}: {reason}")
    scratch = main_root() / ".dvc" / "tmp"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        with zipfile.ZipFile(io.BytesIO(archive.stdout)) as content:
            content.extractall(folder)
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


def remove_stale_locks() -> None:
    """Remove the locks of experiments that a killed git or dvc has left: nobody could write these experiments again.

    A living process holds such a lock for milliseconds, so one that stays for STALE seconds has no owner.
    """
    folder = main_root() / git("rev-parse", "--git-common-dir", root=main_root()) / "refs" / "exps"

    def locks() -> dict[Path, int]:
        times = {}
        for path in folder.rglob("*.lock"):
            with suppress(FileNotFoundError):  # its owner was faster
                times[path] = path.stat().st_mtime_ns
        return times

    if not (before := locks()):
        return
    time.sleep(STALE)
    for path, written in locks().items():
        if before.get(path) == written:
            path.unlink(missing_ok=True)


def model_file(folder: Path) -> Path | None:
    """Return the file in DVC's cache that holds the weights of a run; None if this machine does not have it.

    A damaged file is removed from the cache with a warning: DVC trusts its cache, and would restore it.

    Args:
        folder: A folder with the dvc.lock of the run.

    Raises:
        Incomplete: There is no dvc.lock, or it does not contain the weights.
    """
    digest = weights_digest(folder)
    path = Path(_cache().oid_to_path(digest))
    if not path.is_file():
        return None
    if md5(path) != digest:
        _discard(path, digest)
        return None
    return path


def discard_damaged_model() -> bool:
    """Remove the model of dvc.lock from DVC's cache if it is damaged there, and the copy of it in the workspace.

    A model in the workspace that is not damaged stays, and nothing is checked then.

    Returns:
        Whether a damaged model was removed. `dvc repro` then trains it again.
    """
    try:
        digest = weights_digest(ROOT)
    except Incomplete:  # nothing was trained yet
        return False
    present = md5(MODEL) if MODEL.is_file() else None
    if present == digest:
        return False
    cached = Path(_cache().oid_to_path(digest))
    damaged = md5(cached) if cached.is_file() else digest
    if damaged == digest:
        return False
    _discard(cached, digest)
    if present == damaged:
        MODEL.unlink()
    return True


def _discard(cached: Path, digest: str) -> None:
    cached.chmod(0o600)  # DVC's files are read-only, and Windows removes no such file
    cached.unlink()
    print(f"warning: the model {digest} in DVC's cache was damaged, so it was removed", file=sys.stderr)


@cache
def _cache() -> Any:
    from dvc.repo import Repo  # takes a second to import, and only a later mirror needs it

    with Repo(main_root()) as repo:
        return repo.cache.local
