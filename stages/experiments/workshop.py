"""Finished trials as DVC experiments: commits under refs/exps, each with its own params.yaml, dvc.lock and reports.

A trial is trained in a private folder with the files of this project. DVC puts its model and its run into the cache of
the main repository. The commit is then made with a separate git index, so that the user's files, index and queue are
never touched. A kill at any moment leaves a complete experiment or none.
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
from stages.base.git import commit, git
from stages.base.paths import (
    BEST_MODEL,
    CONFIRMATION,
    DATA,
    DECISION,
    EXPORT_METRICS,
    EXPORTED,
    FIGURES,
    MODEL_CARD,
    NOT_EXPORTED,
    ONNX_MODEL,
    PREPARED_DATA,
    ROOT,
    STUDY_READY,
    TEST_METRICS,
    TRAIN_METRICS,
    main_root,
)
from stages.experiments.identity import code_files
from stages.experiments.lock import edited_lock, parameters, read_lock
from stages.params.file import PARAMS, read, with_values
from stages.params.schema import Params

_FOLDERS = [Path(path).parent for path in (BEST_MODEL, TRAIN_METRICS, TEST_METRICS, EXPORT_METRICS)]
_RESULTS: tuple[str | Path, ...] = (*_FOLDERS, DECISION, CONFIRMATION, MODEL_CARD, FIGURES)  # of an earlier run
_IDENTITY = {f"GIT_{role}_{field}": "study" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}


@dataclass(frozen=True)
class Origin:
    """The start of the trials of a study: a commit, and the texts of params.yaml and dvc.lock when the study began."""

    commit: str
    params: str
    lock: str


def present_origin(params: Params) -> Origin:
    """Return the start of experiments that begin now.

    Args:
        params: params.yaml.

    Raises:
        Failure: There is no commit, or the prepared data are missing or made from other values of `data`.
    """
    base = commit()
    if not base:
        raise Failure("trainings are saved as experiments of a commit: make the first commit with `git commit`")
    lock = ROOT / "dvc.lock"
    if not lock.is_file() or not (DATA / "summary.json").is_file():
        raise Failure("data/prepared or dvc.lock is missing: run `dvc repro prepare`")
    if parameters(read_lock(ROOT), "prepare")["data"] != read(PARAMS)["data"]:
        raise Failure("`data` in params.yaml has changed since data/prepared was made: run `dvc repro prepare`")
    return Origin(base, PARAMS.read_text(encoding="utf-8"), lock.read_text(encoding="utf-8"))


class Workshop:
    """A private folder with the files of this project as the present run sees them, in which trials are trained."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        """Create the folder and its files.

        Args:
            folder: The path of the folder. Its old content is deleted.
            origin: The start of the experiments.
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
        self._link_data()
        self._configure()

    def _copy_changes(self) -> None:
        """Copy the files that the present run has changed since its commit: uncommitted edits and values of `-S`."""
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
        # Also files that are not in git yet.
        for name in [*code_files("train"), *code_files("evaluate"), *code_files("export"), STUDY_READY]:
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.root / name)

    def _link_data(self) -> None:
        """Link the prepared data into the folder, because DVC requires the dependencies of a run."""
        data = self.root / PREPARED_DATA
        data.parent.mkdir(exist_ok=True)
        try:
            data.symlink_to(DATA.resolve(), target_is_directory=True)
        except OSError:  # Windows allows links for some users only
            shutil.copytree(DATA, data)

    def _configure(self) -> None:
        """Let DVC use the cache of the main repository, and let it not use git, which this class does."""
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
        """Prepare the folder for a training with these values of training keys."""
        for name in _RESULTS:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (self.root / BEST_MODEL).parent.mkdir()
        write_atomic(self.root / "params.yaml", with_values(self._origin.params, values))
        write_atomic(self.root / "dvc.lock", edited_lock(self._origin.lock, values, keep=("check", "prepare")))

    def save(self, name: str, stages: Sequence[str] = ("train",)) -> None:
        """Put the model and the run of this folder into DVC's cache, and create the experiment.

        Nothing is exported: texts stand in the place of the exported models, because DVC can apply no experiment whose
        dvc.lock lacks a file that belongs into the cache. `dvc repro` replaces them.

        Args:
            name: The name of the experiment.
            stages: The stages that have run in this folder, in order.
        """
        from dvc.repo import Repo

        with contextlib.chdir(self.root), Repo() as repo:  # DVC resolves targets from the working directory
            for stage in stages:
                repo.commit(stage, force=True, allow_missing=True, relink=False)
            self._stand_in_for_export(repo)
        self._git("add", "--all")
        tree, base = self._git("write-tree"), self._origin.commit
        commit = self._git("commit-tree", tree, "-p", base, "-m", f"run {name}")
        self._git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit)

    def _stand_in_for_export(self, repo: Any) -> None:
        """Add stage export to dvc.lock with one dependency, so that DVC runs it, and with texts as its models.

        The dependency is the model: DVC has one digest for each path, and takes it from the last stage that has it.
        """
        for path in (ONNX_MODEL, f"{EXPORTED}/README.md"):
            write_atomic(self.root / path, NOT_EXPORTED)
        (export,) = repo.stage.collect("export")
        export.deps = [dep for dep in export.deps if dep.def_path == BEST_MODEL]
        export.outs = [out for out in export.outs if out.use_cache]
        for dep in export.deps:
            dep.save()
        for out in export.outs:
            out.add(relink=False)
        export.dump(update_pipeline=False)

    def _git(self, *arguments: str) -> str:
        """Run git in the main repository with the files of this folder and a separate index."""
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
