"""Finished trials as DVC experiments: each a commit under refs/exps, with its own params.yaml, dvc.lock and reports.

A trial is trained in a private folder with this project's files, where DVC puts its model and its run into the cache of
the main repository. The commit is then made with a git index of its own: the user's files, index and queue are never
touched, and a kill at any moment leaves the experiment whole or not there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import git
from stages.base.paths import DATA, FIGURES, ROOT, main_root
from stages.experiments.identity import code_files
from stages.experiments.lock import edited_lock
from stages.params.file import with_values

_STALE = ("reports/evaluate", "reports/decision.md", "reports/confirmation.csv", FIGURES)  # of the run before
_IDENTITY = {f"GIT_{who}_{what}": "study" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass(frozen=True)
class Origin:
    """What the trials of a study start from: a commit, and params.yaml and dvc.lock as they were when it began."""

    commit: str
    params: str
    lock: str


class Workshop:
    """A private folder with this project's files as the run under way sees them, in which trials are made."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        """Lay out the files.

        Args:
            folder: Where; what is there is removed.
            origin: What the experiments start from.
        """
        self._origin = origin
        self._top = folder.resolve()
        self._repository = git("rev-parse", "--absolute-git-dir", root=main_root())
        self.root = self._top / git("rev-parse", "--show-prefix").rstrip("/")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._index = folder.with_name(f"{folder.name}.index")
        self._index.unlink(missing_ok=True)
        self._git("read-tree", origin.commit)
        self._git("checkout-index", "--all")
        self._copy_changes()
        self._lend_data()
        self._configure()

    def _copy_changes(self) -> None:
        """What the run under way has changed since its commit: an edit without a commit, values of `-S`."""
        top = Path(git("rev-parse", "--show-toplevel"))
        for name in git("diff", "--name-only", "--no-renames", "-z", self._origin.commit).split("\0"):
            if not name:
                continue
            target = self._top / name
            if (top / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(top / name, target)
            else:
                target.unlink(missing_ok=True)
        for name in [*code_files("train"), *code_files("evaluate")]:  # also before the first commit of one of them
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.root / name)

    def _lend_data(self) -> None:
        """DVC wants to see the data that a run was made from."""
        data = self.root / "data" / "prepared"
        data.parent.mkdir(exist_ok=True)
        try:
            data.symlink_to(DATA.resolve(), target_is_directory=True)
        except OSError:  # Windows allows links to some users only
            shutil.copytree(DATA, data)

    def _configure(self) -> None:
        """DVC's cache is the main repository's, and git is left to this class."""
        from dvc.config import Config
        from dvc.repo import Repo

        local = main_root() / ".dvc" / "config.local"
        if local.is_file():
            shutil.copy2(local, self.root / ".dvc" / "config.local")  # with its mode: it may hold credentials
        with Repo(main_root()) as repo:
            cache = Path(repo.cache.local.path).resolve()  # files are in cache/files/md5
        with Config(str(self.root / ".dvc"), validate=False).edit("local") as config:
            config.setdefault("core", {}).update(no_scm=True, analytics=False, check_update=False)
            config.setdefault("cache", {})["dir"] = str(cache.parents[1])

    def clear(self, values: Mapping[str, Any]) -> None:
        """Make the folder ready for a training with these values of training keys."""
        for name in ("models", "reports/train", *_STALE):
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (self.root / "models").mkdir()
        write_atomic(self.root / "params.yaml", with_values(self._origin.params, values))
        write_atomic(self.root / "dvc.lock", edited_lock(self._origin.lock, values, keep=("check", "prepare")))

    def save(self, name: str, stages: Sequence[str] = ("train",)) -> None:
        """Put the model and the run of this folder into DVC's cache, and make it the experiment of that name.

        Args:
            name: Of the experiment.
            stages: What was run here, in order.
        """
        from dvc.repo import Repo

        with contextlib.chdir(self.root), Repo() as repo:  # DVC looks for a target from the working directory on
            for stage in stages:
                repo.commit(stage, force=True, allow_missing=True, relink=False)
        self._git("add", "--all")
        tree, base = self._git("write-tree"), self._origin.commit
        commit = self._git("commit-tree", tree, "-p", base, "-m", f"run {name}")
        self._git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)

    def _git(self, *arguments: str) -> str:
        """Git in the main repository, with this folder's files and an index of its own."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        done = subprocess.run(
            ["git", f"--git-dir={self._repository}", f"--work-tree={self._top}", *arguments],
            cwd=self._top,
            env={**kept, **_IDENTITY, "GIT_INDEX_FILE": str(self._index)},
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
        if done.returncode:
            raise Failure(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()
