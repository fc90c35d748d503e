"""The mirror of the run under way in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from stages.tracking.missed import note, noted, pending
from stages.tracking.record import Points, Record
from stages.tracking.store import Run, Store, unusable


class Mirror:
    """The mirror of the run under way. It never stops the run: where MLflow fails, it warns once and is silent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._store: Store | None = None
        self._run: Run | None = None
        self._lost = False

    def begin(self, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Open the run, anew where a run of that name had other parameters."""
        note(self.name, warned=False)

        def work() -> None:
            self._store = Store()
            self._run = Run(self._store, self.name, params, tags, self._store.find(self.name))

        self._try(work)

    def log(self, points: Points) -> None:
        """Add values of metrics by name and step."""
        if self._run is not None:
            run = self._run
            self._try(lambda: run.log(points))

    def end(self, status: str) -> None:
        """Close the run as FINISHED or FAILED."""
        if self._run is not None:
            run = self._run
            self._try(lambda: run.end(status))
        if status == "FAILED":  # DVC keeps nothing of it
            pending(self.name).unlink(missing_ok=True)

    def write(self, record: Record) -> Store | None:
        """Mirror the whole run; returns the connection where that was done."""
        note(self.name, content=record.content)

        def work() -> None:
            self._store = self._store or Store()
            self._store.write(record)
            pending(self.name).unlink(missing_ok=True)

        self._try(work)
        return None if self._lost else self._store

    def _try(self, work: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            work()
        except Exception as error:  # whatever a store, a driver or a proxy may raise: the run matters more
            self._lost = True
            if not noted(self.name).get("warned"):
                note(self.name, warned=True)
                print(
                    f"warning: {unusable(error)}; the run goes on, and `make sync` mirrors it later",
                    file=sys.stderr,
                )
