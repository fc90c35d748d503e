"""Files from the network, kept inside the main repository: whole and checked, or not there at all."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pooch
import requests
from filelock import FileLock

from stages.base.failures import Failure

TIMEOUT = 30  # seconds without a byte


def fetch(url: str, folder: Path, name: str, sha256: str | None = None) -> Path:
    """The file `folder`/`name`, downloaded from `url` unless it is there.

    Several processes may ask for one file at once: one fetches it, the others wait. A download that is broken off, or
    that does not match `sha256` (hexadecimal, unchecked when None), leaves no file.

    Raises:
        Failure: The address does not answer, or answers with something else; the line names it and says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    with FileLock(folder / f"{name}.lock"):
        try:
            return Path(pooch.retrieve(url, sha256, fname=name, path=folder, downloader=downloader))
        except requests.HTTPError as error:
            raise Failure(f"{url} cannot be fetched: {error}") from error
        except requests.Timeout as error:
            raise Failure(f"{url} cannot be fetched: no answer in {TIMEOUT} s") from error
        except requests.RequestException as error:
            raise Failure(f"{url} cannot be fetched: no connection ({type(error).__name__})") from error
        except ValueError as error:  # what pooch raises for a wrong digest
            raise Failure(f"{url} is not the expected file: its sha256 differs from {sha256}") from error
