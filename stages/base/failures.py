"""Failures that a user can mend: one line and an exit status, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable


class Failure(Exception):
    """The work cannot be done as asked. The text is one line: the thing, its value, what is allowed, what to do."""

    status = 1


class BadParams(Failure):
    """A parameter is wrong, and nothing has been touched."""

    status = 2


# A full disk or a missing permission; not every platform knows of quotas.
_OF_THE_MACHINE = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


def run(main: Callable[[], None]) -> None:
    """Run a command's `main` and end the process: status 0, or a line on standard error and the failure's status.

    Programming errors keep their traceback: they are ours to mend, not the user's.
    """
    try:
        main()
    except Failure as failure:
        _end(str(failure), failure.status)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        _end(f"{error.strerror}: {error.filename or 'a file of this repository'}", 1)


def _end(line: str, status: int) -> None:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(status)
