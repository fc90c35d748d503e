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
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import git
from stages.base.paths import (
    BEST_MODEL,
    CONFIRMATION,
    DATA_REPORT,
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
from stages.experiments import refs
from stages.experiments.identity import code_files
from stages.experiments.lock import edited_lock
from stages.experiments.origin import Origin
from stages.params.file import with_values

_FOLDERS = [Path(path).parent for path in (BEST_MODEL, TRAIN_METRICS, TEST_METRICS, EXPORT_METRICS)]
_RESULTS: tuple[str | Path, ...] = (*_FOLDERS, DECISION, CONFIRMATION, MODEL_CARD, FIGURES)  # of an earlier run
_IDENTITY = {f"GIT_{role}_{field}": "study" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}


class Workshop:
    """A private folder with the files of this project as the present run sees them, in which trials are trained.

    Attributes:
        root: The folder of the project in it.
        data: The prepared data of the trainings.
    """

    def __init__(self, folder: Path, origin: Origin, with_data: bool = True) -> None:
        """Create the folder and its files.

        Args:
            folder: The path of the folder. Its old content is deleted.
            origin: The start of the experiments.
            with_data: Whether the folder gets the prepared data of the origin.
        """
        self._origin, self.data = origin, origin.data
        self._top = folder.resolve()
        self._repository = git("rev-parse", "--absolute-git-dir", root=main_root())
        self.root = self._top / git("rev-parse", "--show-prefix").rstrip("/")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._index = folder.with_name(f"{folder.name}.index")
        self._index.unlink(missing_ok=True)
        refs.remove_stale_locks()
        self._git("read-tree", origin.commit)
        self._git("checkout-index", "--all")
        self._copy_changes()
        if with_data:
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
        """Link the prepared data into the folder, because DVC requires the dependencies of a run; copy their report."""
        report = self.data.parents[1] / DATA_REPORT
        if report.is_dir():
            shutil.copytree(report, self.root / DATA_REPORT, dirs_exist_ok=True, copy_function=shutil.copyfile)
        data = self.root / PREPARED_DATA
        data.parent.mkdir(exist_ok=True)
        try:
            data.symlink_to(self.data.resolve(), target_is_directory=True)
        except OSError:  # Windows allows links for some users only
            shutil.copytree(self.data, data)

    def _configure(self) -> None:
        """Let DVC use the cache of the main repository, and let it not use git, which this class does."""
        from dvc.config import Config
        from dvc.repo import Repo

        local = main_root() / ".dvc" / "config.local"
        settings = Config.load_file(str(local)) if local.is_file() else {}
        settings.pop("remote", None)  # a trial needs no remote, and a killed machine must not leave its keys here
        with Repo(main_root()) as repo:
            cache = Path(repo.cache.local.path).resolve()  # files are in cache/files/md5
        with Config(str(self.root / ".dvc"), validate=False).edit("local") as config:
            config.update(settings)
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
