"""The mirror of the present run in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stages.tracking.missed import note, pending
from stages.tracking.outage import tolerated
from stages.tracking.record import Points, Record
from stages.tracking.store import Run, Store


class Mirror:
    """The mirror of the present run. After the first failure of MLflow it warns once, and then does nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._store: Store | None = None
        self._run: Run | None = None
        self._has_failed = False
        self._is_missed = False  # whether an earlier run of this name is still to be mirrored

    def begin(self, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Open the run in MLflow. If a run of that name has other parameters, open a new one."""
        self._is_missed = pending(self.name).is_file()
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
        """Close the run as FINISHED or FAILED. A run that was complete before stays as it is."""
        if self._run is not None:
            run = self._run
            self._try(lambda: run.end(status))
        if status == "FAILED" and not self._is_missed:  # DVC keeps nothing of a failed run: it cannot be mirrored later
            pending(self.name).unlink(missing_ok=True)

    def write(self, record: Record) -> Store | None:
        """Mirror the complete run; return the connection, or None if MLflow has failed."""
        note(self.name, content=record.content)

        def work() -> None:
            self._store = self._store or Store()
            self._store.write(record)
            pending(self.name).unlink(missing_ok=True)

        self._try(work)
        return None if self._has_failed else self._store

    def _try(self, work: Callable[[], None]) -> None:
        if self._has_failed:
            return
        with tolerated("{}; the run goes on, and `make sync` mirrors it later", [self.name]) as outage:
            work()
        self._has_failed = outage.error is not None
