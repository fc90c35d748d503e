"""Finished trials as DVC experiments: each a commit under refs/exps, with its own params.yaml, dvc.lock and reports.

A trial is trained in a private folder with this project's files, where DVC puts its model and its run into the cache of
the main repository. The commit is then made with a git index of its own: the user's files, index and queue are never
touched, and a kill at any moment leaves the experiment whole or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from stages.failures import Failure
from stages.params import dumped, round_trip
from stages.repository import DATA, ROOT, git, main_root, write_atomic

Lock = dict[str, Any]
"""The stages of a dvc.lock by name."""

FIGURES = "reports/figures"
"""Where the figures of a decision are; a run that was not asked for one has a single file there, which says so."""

_STALE = ("reports/evaluate", "reports/decision.md", "reports/confirmation.csv", FIGURES)  # of the run before
_IDENTITY = {f"GIT_{who}_{what}": "study" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def trial_name(study: str, number: int) -> str:
    """The one name of a trial, in DVC and MLflow."""
    return f"{study}-{number:03d}"


def study_of(name: str) -> tuple[str, int] | None:
    """The study and the number of a trial by its name; None where it is no trial's."""
    found = re.fullmatch(r"(tune-[0-9a-f]{6})-(\d{3,})", name)
    return (found[1], int(found[2])) if found else None


def is_study(name: str) -> bool:
    """Whether a name is a study's."""
    return study_of(f"{name}-000") is not None


def confirmation_name(setting: str, seed: int) -> str:
    """The one name of a training that repeats a setting with another seed; `setting` is six hexadecimal digits."""
    return f"confirm-{setting}-s{seed}"


def is_confirmation(name: str) -> bool:
    """Whether a name is that of a setting trained again with another seed."""
    return re.fullmatch(r"confirm-[0-9a-f]{6}-s\d+", name) is not None


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """The text of a params.yaml with other values of top-level keys; comments and order are kept."""
    yaml_ = round_trip()
    content = yaml_.load(text)
    for key, value in values.items():
        content[key] = value
    return dumped(yaml_, content)


def read_lock(text: str) -> Lock:
    """The stages of a dvc.lock.

    Raises:
        ValueError: It is none.
    """
    try:
        return dict(yaml.load(text, _Loader)["stages"])  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError("not a dvc.lock") from error


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads numbers as DVC writes them: 1e-05 is one in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def edited_lock(text: str, values: Mapping[str, Any], keep: Collection[str] | None = None) -> str:
    """The text of a dvc.lock whose stage check has seen other values: those of a validated space need no check.

    Args:
        text: Of the dvc.lock.
        values: Of top-level keys of params.yaml.
        keep: The stages to keep, or None for all.
    """
    yaml_ = YAML()
    content = yaml_.load(text)
    stages = content["stages"]
    for name in [name for name in stages if keep is not None and name not in keep]:
        del stages[name]
    if "check" in stages:
        stages["check"]["params"]["params.yaml"].update(values)
    return dumped(yaml_, content)


def prepared(lock: Lock) -> dict[str, Any]:
    """The entry of data/prepared in a dvc.lock: path, digest, size.

    Raises:
        Failure: There is none.
    """
    for out in lock.get("prepare", {}).get("outs", []):
        if out["path"] == "data/prepared":
            return dict(out)
    raise Failure("dvc.lock knows no data/prepared: run `dvc repro prepare`")


@cache
def code_digests(stage: str = "train") -> Mapping[str, str]:
    """MD5 of each file of code that a stage depends on, as it was when this process first asked."""
    files = [path for path in _needed(stage) if path.startswith("stages/")]
    return {path: hashlib.md5((ROOT / path).read_bytes()).hexdigest() for path in files}


def _needed(stage: str) -> list[str]:
    """The files of git that a stage depends on."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    return [path for path in content["deps"] if (ROOT / path).is_file() and not path.startswith("models/")]


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
        for name in [*_needed("train"), *_needed("evaluate")]:  # also before the first commit of one of them
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
