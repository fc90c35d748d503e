"""Download files, so that a file is complete and checked or does not exist."""

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
    """Return the file `folder`/`name`. If it does not exist, download it from `url`.

    Several processes may call this at once: one downloads the file, the others wait. An interrupted download, or one
    with a wrong digest, leaves no file.

    Args:
        url: The address.
        folder: The folder for the file.
        name: The name of the file.
        sha256: The expected digest, in hexadecimal. None accepts any content.

    Raises:
        Failure: The address does not answer, or the content has another digest. The message names the address and the
            reason.
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
        except ValueError as error:  # pooch raises this for a wrong digest
            raise Failure(f"{url} is not the expected file: its sha256 differs from {sha256}") from error
