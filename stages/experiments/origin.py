"""The origin of experiments: the commit, the parameters and the data that they start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.base.failures import Failure
from stages.base.git import commit
from stages.base.paths import DATA, ROOT
from stages.experiments.identity import code_digests
from stages.experiments.lock import parameters, parse_lock, prepared, read_lock
from stages.params.file import PARAMS, read


@dataclass(frozen=True)
class Origin:
    """The start of experiments: a commit, the texts of params.yaml and dvc.lock, and the folder of prepared data."""

    commit: str
    params: str
    lock: str
    data: Path = DATA

    @property
    def made_of(self) -> dict[str, str]:
        """The digests of the code and the data that a training is made from, by path. Equal ones can be compared."""
        data = prepared(parse_lock(self.lock))
        return {**code_digests(), data["path"]: data["md5"]}


def present_origin() -> Origin:
    """Return the start of experiments that begin now.

    Raises:
        Failure: There is no commit, or the prepared data are missing or made from other values of `data`.
    """
    base = commit()
    if not base:
        raise Failure("trainings are saved as experiments of a commit: make the first commit with `git commit`")
    lock = ROOT / "dvc.lock"
    if not lock.is_file() or not (DATA / "summary.json").is_file():
        raise Failure("data/prepared or dvc.lock is missing: run `dvc repro prepare`")
    if parameters(read_lock(ROOT), "prepare").get("data") != read(PARAMS)["data"]:
        raise Failure("`data` in params.yaml has changed since data/prepared was made: run `dvc repro prepare`")
    return Origin(base, PARAMS.read_text(encoding="utf-8"), lock.read_text(encoding="utf-8"))
