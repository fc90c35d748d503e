"""Share what this clone has with a team: data, models, experiments, and runs that nobody then trains again.

These are `dvc push` and `dvc exp push`, `dvc pull` and `dvc exp pull`, and what they leave out. DVC keeps a record of
each run and takes the results from its cache where the same run is asked for again. It shares the records with
`--run-cache`, but not the metrics and curves that they need (seen with DVC 3.67), and then trains again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.paths import main_root
from stages.services.reasons import reason

_Returned = TypeVar("_Returned")


def push(git_remote: str) -> None:
    """Give what is here; repeated, it gives what is new.

    Raises:
        Failure: Something could not be given. What was, stays.
    """
    _dvc("push")
    with Repo(str(main_root())) as repo:
        cache, remote = _Cache(repo), _Remote(repo)
        records = cache.records()
        needed = {name: cache.files(content) for name, content in records.items()}
        whole = {name: files for name, files in needed.items() if files is not None}
        sent = remote.send(set().union(*whole.values()))
        remote.write({name: records[name] for name in whole.keys() - remote.records()})
    print(f"runs: {len(whole)} shared, {sent} files sent")
    _dvc("exp", "push", "--all-commits", git_remote)


def pull(git_remote: str) -> None:
    """Take what others gave, and bring the workspace to what dvc.lock says.

    Raises:
        Failure: Something could not be taken. What was, stays.
    """
    _dvc("pull")
    with Repo(str(main_root())) as repo:
        cache, remote = _Cache(repo), _Remote(repo)
        here = cache.records()
        new = remote.read(remote.records() - here.keys())
        known = {**here, **new}
        taken = remote.fetch(cache.lacking(known.values()))
        taken += remote.fetch(cache.lacking(known.values()))  # what is in the folders that have come
        whole = {name for name, content in known.items() if cache.files(content) is not None}
        for name in whole & new.keys():  # DVC goes by the newest record of a run: none comes before its files
            cache.write(name, new[name])
    print(f"runs: {len(whole)} known, {taken} files taken")
    _dvc("exp", "pull", "--all-commits", git_remote)


def _dvc(*arguments: str) -> None:
    """One of DVC's own commands, which tells of its progress and of what goes wrong itself."""
    print(f"dvc {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=main_root(), check=False)
    if done.returncode:
        where = f"git's remote {arguments[-1]}" if arguments[0] == "exp" else "DVC's remote"
        raise Failure(
            f"dvc {' '.join(arguments)} has failed: {where} must be there, and be yours to use; "
            "`python -m stages services` asks DVC's"
        )


class _Cache:
    """DVC's cache in this clone.

    A record of a run lies at runs/ab/abcd.../1234... and names what the run made by its MD5; that of a folder ends with
    .dir, and is a list of files.
    """

    def __init__(self, repo: Any) -> None:
        self._top, self._files = Path(repo.cache.legacy.path), repo.cache.local

    def records(self) -> dict[str, bytes]:
        found = (path for path in self._top.glob("runs/*/*/*") if path.suffix != ".partial")
        return {path.relative_to(self._top).as_posix(): path.read_bytes() for path in found}

    def write(self, record: str, content: bytes) -> None:
        write_atomic(self._top / record, content)

    def files(self, record: bytes) -> set[str] | None:
        """All files that a run needs, with those in folders; None where one is not here."""
        needed = self._named(record)
        return needed if all(map(self._files.exists, needed)) else None

    def lacking(self, records: Iterable[bytes]) -> set[str]:
        """What runs need and is not here, as far as is known: what is in a folder is known once it has come."""
        return {digest for record in records for digest in self._named(record) if not self._files.exists(digest)}

    def _named(self, record: bytes) -> set[str]:
        try:
            named = {out["md5"] for out in yaml.safe_load(record)["outs"] if "md5" in out}
        except (yaml.YAMLError, TypeError, KeyError):  # DVC drops a damaged record when it meets it
            return set()
        folders = [digest for digest in named if digest.endswith(".dir") and self._files.exists(digest)]
        inside = (json.loads(Path(self._files.oid_to_path(digest)).read_bytes()) for digest in folders)
        return named | {entry["md5"] for entries in inside for entry in entries}


class _Remote:
    """DVC's default remote.

    Raises:
        Failure: From the constructor and from every method, where it cannot be had, or there is none.
    """

    def __init__(self, repo: Any) -> None:
        try:
            store = repo.cloud.get_remote_odb(None, "push", hash_name="md5-dos2unix")  # where DVC keeps its records
        except DvcException as error:
            raise Failure(f"DVC's remote: {error}") from error
        self._cloud, self._store, self._top = repo.cloud, store.fs, store.path
        self._files = store.fs.fs

    def records(self) -> set[str]:
        """The records of runs that are there, by their path."""
        top = f"{self._top}/runs"
        self._files.invalidate_cache()
        return {self._record(path) for path in self._try(lambda: self._files.find(top))}

    def read(self, records: Iterable[str]) -> dict[str, bytes]:
        paths = [f"{self._top}/{record}" for record in records]
        found = self._try(lambda: self._files.cat(paths)) if paths else {}
        return {self._record(path): content for path, content in found.items()}

    def write(self, records: Mapping[str, bytes]) -> None:
        paths = {f"{self._top}/{record}": content for record, content in records.items()}
        for folder in {path.rpartition("/")[0] for path in paths}:
            self._try(partial(self._store.makedirs, folder, exist_ok=True))  # a store like S3 has none
        self._try(lambda: self._files.pipe(paths) if paths else None)

    def send(self, files: Iterable[str]) -> int:
        """Send files of the cache; returns how many were not there.

        Raises:
            Failure: Some did not arrive.
        """
        result = self._try(lambda: self._cloud.push({HashInfo("md5", digest) for digest in files}))
        if result.failed:
            raise Failure(f"{len(result.failed)} files of runs did not arrive; the same command sends the rest")
        return len(result.transferred)

    def fetch(self, files: Iterable[str]) -> int:
        """Take files into the cache; returns how many came. The remote may lack some."""
        result = self._try(lambda: self._cloud.pull({HashInfo("md5", digest) for digest in files}))
        return len(result.transferred)

    @staticmethod
    def _record(path: str) -> str:
        return "/".join(PurePosixPath(path).parts[-4:])

    def _try(self, work: Callable[[], _Returned]) -> _Returned:
        try:
            return work()
        except Exception as error:  # each kind of remote has errors of its own
            raise Failure(f"DVC's remote {self._top} cannot be used ({reason(error)})") from error
