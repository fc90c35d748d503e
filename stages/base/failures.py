"""Failures that a user can correct: one line and an exit status, without a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable


class Failure(Exception):
    """The command cannot do its work. The text is one line: cause, value, allowed values, what to do."""

    status = 1


class BadParams(Failure):
    """A parameter is wrong. No file has been changed."""

    status = 2


# Errors of the machine: a full disk, a missing permission, a name that is too long for its file system. EDQUOT (quota)
# does not exist on every platform.
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_MACHINE_ERRORS = {*_DISK_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}


def run(main: Callable[[], None]) -> None:
    """Read .env and run the `main` of a command. After a failure, print one line to standard error and exit.

    The exit status is that of the failure. A programming error keeps its traceback, because a user cannot correct it.
    """
    from stages.base import environment  # it imports this module

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file on Windows cannot hold every character of a name
            stream.reconfigure(errors="backslashreplace")
    try:
        environment.load()
        main()
    except Failure as failure:
        _end(str(failure), failure.status)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except BrokenPipeError:  # the reader of standard output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        _end(f"{error.strerror}: {error.filename or 'a file of this repository'}", 1)


def _end(line: str, status: int) -> None:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(status)
