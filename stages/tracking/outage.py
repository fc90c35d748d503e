"""The rule for a failure of MLflow: it never stops a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stages.base.failures import Failure
from stages.tracking.missed import note, noted
from stages.tracking.store import unusable


@dataclass
class Outage:
    """A failure of MLflow, if there was one.

    Attributes:
        error: The exception that MLflow's client has raised; None if MLflow could be used.
        message: The reason in one line; empty if MLflow could be used.
    """

    error: Exception | None = None
    message: str = ""


@contextmanager
def tolerated(warning: str, runs: Sequence[str] = (), is_silent: bool = False) -> Iterator[Outage]:
    """Use MLflow in a block of code. If that fails, warn once, note what MLflow has missed, and go on after the block.

    Args:
        warning: The warning; `{}` in it stands for the reason.
        runs: The runs and studies that MLflow misses if the block fails. If an earlier block or stage has already
            warned for the first of them, nothing is printed.
        is_silent: Print nothing in any case.

    Yields:
        The outage. Its attributes are set when the block has ended.
    """
    outage = Outage()
    try:
        yield outage
    except Exception as error:  # a store, a driver or a proxy may raise anything, and the run matters more
        outage.error, outage.message = error, str(error) if isinstance(error, Failure) else unusable(error)
        was_warned = bool(runs) and bool(noted(runs[0]).get("warned"))
        for run in runs:
            note(run, warned=True)
        if not (is_silent or was_warned):
            print(f"warning: {warning.format(outage.message)}", file=sys.stderr, flush=True)
