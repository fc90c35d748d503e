"""Share what this clone has with a team: data, models, experiments, and runs that nobody then trains again.

    python -m stages.share push [GIT_REMOTE]     give DVC's remote and git's (origin) what is here
    python -m stages.share pull [GIT_REMOTE]     take what others gave

These are `dvc push` and `dvc exp push`, `dvc pull` and `dvc exp pull`, and what they leave out. DVC keeps a record of
each run and takes the results from its cache where the same run is asked for again. It shares the records with
`--run-cache`, but not the metrics and curves that they need (seen with DVC 3.67), and then trains again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages import failures
from stages.failures import BadParams, Failure
from stages.reasons import reason
from stages.repository import main_root, write_atomic


def push(git_remote: str) -> None:
    """Give what is here; repeated, it gives what is new.

    Raises:
        Failure: Something could not be given. What was, stays.
    """
    _dvc("push")
    with Repo(str(main_root())) as repo:
        remote = _Remote(repo)
        needed = {record: _objects(repo, record) for record in _here(repo)}
        mine = {record for record, files in needed.items() if all(repo.cache.local.exists(one.value) for one in files)}
        sent = remote.send(one for record in mine for one in needed[record])
        remote.write({path: (_folder(repo) / path).read_bytes() for path in mine - remote.records()})
    print(f"runs: {len(mine)} shared, {sent} files sent")
    _dvc("exp", "push", "--all-commits", git_remote)


def pull(git_remote: str) -> None:
    """Take what others gave, and bring the workspace to what dvc.lock says.

    Raises:
        Failure: Something could not be taken. What was, stays.
    """
    _dvc("pull")
    with Repo(str(main_root())) as repo:
        remote = _Remote(repo)
        for path, content in remote.read(remote.records() - _here(repo)).items():
            write_atomic(_folder(repo) / path, content)
        known = _here(repo)
        taken, lacking = remote.fetch(one for record in known for one in _objects(repo, record))
    print(f"runs: {len(known)} known, {taken} files taken" + (f", {lacking} are not there" if lacking else ""))
    _dvc("exp", "pull", "--all-commits", git_remote)


def _dvc(*arguments: str) -> None:
    """One of DVC's own commands, which tells of its progress and of what goes wrong itself."""
    print(f"dvc {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=main_root(), check=False)
    if done.returncode:
        raise Failure(f"dvc {' '.join(arguments)} has failed; `python -m stages.services` tells what cannot be reached")


def _folder(repo: Any) -> Path:
    return Path(repo.cache.legacy.path)


def _here(repo: Any) -> set[str]:
    """The records of runs in this clone, as paths in DVC's cache: runs/ab/abcd.../1234..."""
    top = _folder(repo)
    return {path.relative_to(top).as_posix() for path in top.glob("runs/*/*/*") if path.suffix != ".partial"}


def _objects(repo: Any, record: str) -> set[Any]:
    """The files in DVC's cache that a run needs."""
    run = PurePosixPath(record).parts[-2:]
    return {one for objects in repo.stage_cache.get_used_objs([run]).values() for one in objects}


class _Remote:
    """DVC's default remote.

    Raises:
        Failure: It cannot be had, or there is none.
    """

    def __init__(self, repo: Any) -> None:
        try:
            store = repo.cloud.get_remote_odb(None, "push", hash_name="md5-dos2unix")  # where DVC keeps its records
        except DvcException as error:
            raise Failure(f"DVC's remote: {error}") from error
        self._repo, self._files, self._top = repo, store.fs.fs, store.path

    def records(self) -> set[str]:
        """The records of runs that are there."""
        top = f"{self._top}/runs"
        self._files.invalidate_cache()
        found = self._try(lambda: self._files.find(top) if self._files.exists(top) else [])
        return {"/".join(PurePosixPath(path).parts[-4:]) for path in found}

    def read(self, records: Iterable[str]) -> dict[str, bytes]:
        paths = {f"{self._top}/{record}": record for record in records}
        if not paths:
            return {}
        found = self._try(lambda: self._files.cat(list(paths), on_error="raise"))
        return {"/".join(PurePosixPath(path).parts[-4:]): content for path, content in found.items()}

    def write(self, records: dict[str, bytes]) -> None:
        if records:
            self._try(lambda: self._files.pipe({f"{self._top}/{path}": content for path, content in records.items()}))

    def send(self, files: Iterable[Any]) -> int:
        """Send files of the cache; returns how many were not there.

        Raises:
            Failure: Some did not arrive.
        """
        result = self._try(lambda: self._repo.cloud.push(set(files)))
        if result.failed:
            raise Failure(f"{len(result.failed)} files of runs did not arrive; the same command sends the rest")
        return len(result.transferred)

    def fetch(self, files: Iterable[Any]) -> tuple[int, int]:
        """Take files into the cache; returns how many came, and how many the remote has not."""
        result = self._try(lambda: self._repo.cloud.pull(set(files)))
        return len(result.transferred), len(result.failed)

    def _try(self, work: Any) -> Any:
        try:
            return work()
        except Exception as error:  # each kind of remote has errors of its own
            raise Failure(f"DVC's remote {self._top} cannot be used ({reason(error)})") from error


def main() -> None:
    work = {"push": push, "pull": pull}
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in work:
        raise BadParams("share what? python -m stages.share push [GIT_REMOTE], or pull")
    work[sys.argv[1]](sys.argv[2] if len(sys.argv) == 3 else "origin")


if __name__ == "__main__":
    failures.run(main)
