"""Share data, models, experiments and DVC's run cache with a team, so that nobody repeats a training.

`push` is `dvc push` and `dvc exp push`, `pull` is `dvc pull` and `dvc exp pull`; both also share the run cache. DVC
keeps a record of each run, and takes the results from its cache if the same run is requested again. DVC's option
`--run-cache` shares these records without the metrics and curves that they need (tested with DVC 3.67), so that DVC
trains again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
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
from stages.experiments import refs
from stages.services.reasons import reason

_Returned = TypeVar("_Returned")


def push(git_remote: str) -> None:
    """Send data, models, experiments and runs to the remotes; files that they already have are not sent again.

    Raises:
        Failure: Something could not be sent. The files that were sent stay in the remote.
    """
    _dvc("push")
    with Repo(str(main_root())) as repo:
        cache, remote = _Cache(repo), _Remote(repo)
        records = cache.records()
        needed = {name: cache.files(content) for name, content in records.items()}
        complete = {name: files for name, files in needed.items() if files is not None}
        sent = remote.send(set().union(*complete.values()))
        remote.write({name: records[name] for name in complete.keys() - remote.records()})
    print(f"runs: {len(complete)} shared, {sent} files sent")
    _dvc("exp", "push", "--all-commits", git_remote)


def pull(git_remote: str) -> None:
    """Fetch the data, models, experiments and runs of others, and check out the files of dvc.lock.

    Raises:
        Failure: Something could not be fetched. The files that were fetched stay in the cache.
    """
    _dvc("pull")
    with Repo(str(main_root())) as repo:
        cache, remote = _Cache(repo), _Remote(repo)
        local = cache.records()
        new = remote.read(remote.records() - local.keys())
        records = {**local, **new}
        fetched = remote.fetch(cache.missing(records.values()))
        fetched += remote.fetch(cache.missing(records.values()))  # the files in the folders that are now here
        complete = {name for name, content in records.items() if cache.files(content) is not None}
        for name in complete & new.keys():  # DVC uses the newest record of a run: its files must come first
            cache.write(name, new[name])
    print(f"runs: {len(complete)} available, {fetched} files fetched")
    refs.remove_stale_locks()
    _dvc("exp", "pull", "--all-commits", git_remote)


def _dvc(*arguments: str) -> None:
    """Run a command of DVC, which prints its progress and its errors."""
    print(f"dvc {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=main_root(), check=False)
    if done.returncode:
        where = f"git's remote {arguments[-1]}" if arguments[0] == "exp" else "DVC's remote"
        raise Failure(
            f"dvc {' '.join(arguments)} has failed: {where} must exist and be accessible; "
            "`python -m stages services` tests DVC's remote"
        )


class _Cache:
    """DVC's cache in this clone.

    The record of a run is the file runs/ab/abcd.../1234... and names each output of the run by its MD5. The MD5 of a
    folder ends with .dir; its file in the cache is the list of the files in the folder.
    """

    def __init__(self, repo: Any) -> None:
        self._top, self._files = Path(repo.cache.legacy.path), repo.cache.local

    def records(self) -> dict[str, bytes]:
        """Return the content of the records by their path."""
        records = {}
        for path in self._top.glob("runs/*/*/*"):
            if "." in path.name:  # a file that DVC is writing
                continue
            with suppress(FileNotFoundError):  # DVC has just replaced the record
                records[path.relative_to(self._top).as_posix()] = path.read_bytes()
        return records

    def write(self, record: str, content: bytes) -> None:
        write_atomic(self._top / record, content)

    def files(self, record: bytes) -> set[str] | None:
        """Return the MD5 of all files that a run needs; None if its record is damaged or the cache lacks a file."""
        needed = self._named(record)
        return needed if needed is not None and all(map(self._files.exists, needed)) else None

    def missing(self, records: Iterable[bytes]) -> set[str]:
        """Return the MD5 of files that runs need and the cache does not have.

        The files in a folder are included only if the cache has the list of the folder.
        """
        named = (digest for record in records for digest in self._named(record) or ())
        return {digest for digest in named if not self._files.exists(digest)}

    def _named(self, record: bytes) -> set[str] | None:
        """Return the MD5 of the files that a record names; None if it is damaged."""
        try:
            digests = {out["md5"] for out in yaml.safe_load(record)["outs"] if "md5" in out}
        except (yaml.YAMLError, TypeError, KeyError):  # DVC itself deletes a damaged record
            return None
        folders = [digest for digest in digests if digest.endswith(".dir") and self._files.exists(digest)]
        lists = (json.loads(Path(self._files.oid_to_path(digest)).read_bytes()) for digest in folders)
        return digests | {entry["md5"] for entries in lists for entry in entries}


class _Remote:
    """DVC's default remote.

    Raises:
        Failure: From the constructor and from every method, if there is no remote, or it cannot be used.
    """

    def __init__(self, repo: Any) -> None:
        try:
            store = repo.cloud.get_remote_odb(None, "push", hash_name="md5-dos2unix")  # the part with DVC's records
        except DvcException as error:
            raise Failure(f"DVC's remote: {error}") from error
        self._cloud, self._store, self._top = repo.cloud, store.fs, store.path
        self._files = store.fs.fs

    def records(self) -> set[str]:
        """Return the paths of the records in the remote."""
        top = f"{self._top}/runs"
        self._files.invalidate_cache()
        paths = self._try(lambda: self._files.find(top))
        return {self._record(path) for path in paths if "." not in PurePosixPath(path).name}

    def read(self, records: Iterable[str]) -> dict[str, bytes]:
        """Return the content of records by their path."""
        paths = [f"{self._top}/{record}" for record in records]
        contents = self._try(lambda: self._files.cat(paths)) if paths else {}
        return {self._record(path): content for path, content in contents.items()}

    def write(self, records: Mapping[str, bytes]) -> None:
        """Write records by their path. A kill leaves none of them in part."""
        paths = {f"{self._top}/{record}": content for record, content in records.items()}
        if self._store.protocol == "local":
            for path, content in paths.items():
                self._try(partial(write_atomic, Path(path), content))
            return
        for folder in {path.rpartition("/")[0] for path in paths}:
            self._try(
                partial(self._store.makedirs, folder, exist_ok=True)
            )  # S3 has no folders, but other stores need them
        self._try(lambda: self._files.pipe(paths) if paths else None)

    def send(self, files: Iterable[str]) -> int:
        """Send files of the cache, and return how many were new in the remote.

        Raises:
            Failure: Some files did not arrive.
        """
        result = self._try(lambda: self._cloud.push({HashInfo("md5", digest) for digest in files}))
        if result.failed:
            raise Failure(f"{len(result.failed)} files of runs did not arrive; the same command sends the rest")
        return len(result.transferred)

    def fetch(self, files: Iterable[str]) -> int:
        """Fetch files into the cache, and return how many were fetched. The remote may not have all of them."""
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
