"""The mirror of runs in MLflow: one run a name, written again without doubling anything.

Metrics in MLflow: `mAP50`, `train/box_loss` and so on are curves over the epochs, measured on the validation split;
`val/mAP50` and `test/mAP50` are one number each, of the finished model on that split.

Where the server cannot be reached the run goes on, and the mirror is made later from what DVC keeps.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.base.paths import main_root
from stages.services.databases import hidden, make_whole, mlflow_address
from stages.services.reasons import reason
from stages.tracking.missed import HOME
from stages.tracking.record import COST, Points, Record

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the defaults wait for minutes before they give up
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it may hold a password
# Else a server on S3 sends its clients to the store, by an address that only the server may know (MLflow 3.17).
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

for _name in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.WARNING)

EXPERIMENT = "person-detection"
LONGEST = 6000  # characters of a parameter that MLflow keeps

Unreachable = (MlflowException, SQLAlchemyError, OSError)
"""What MLflow's client raises where its server or its files cannot be had."""


def _named(name: str) -> str:
    """What MLflow searches for: the runs of that name."""
    quote = '"' if "'" in name else "'"
    return f"attributes.run_name = {quote}{name}{quote}"


def unusable(error: BaseException) -> str:
    """Says that MLflow cannot be used, and why."""
    return f"MLflow at {hidden(mlflow_address())} cannot be used ({reason(error, mlflow_address())})"


class Store:
    """A connection to MLflow.

    Raises:
        Unreachable: From the constructor and from every method, where MLflow cannot be had.
    """

    def __init__(self, uri: str | None = None) -> None:
        uri = uri or mlflow_address()
        HOME.mkdir(exist_ok=True)
        with FileLock(HOME / "first-contact.lock"):  # two processes that make one SQLite database destroy it
            make_whole(uri, _make_database)
            self.client = MlflowClient(tracking_uri=uri)
            self.experiment = self._experiment(local="://" in uri and not uri.startswith(("http", "databricks")))

    def _experiment(self, local: bool) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return found.experiment_id
        artifacts = (main_root() / "mlartifacts").as_uri() if local else None
        try:
            return self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        except MlflowException:  # another machine was faster
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
            return found.experiment_id

    def find(self, name: str, content: str | None = None) -> Any | None:
        """The newest run of that name, and of those results where they are given."""
        wanted = _named(name)
        if content is not None:
            wanted += f" AND tags.content = '{content}'"
        runs = self.client.search_runs([self.experiment], wanted, order_by=["attributes.start_time DESC"])
        return runs[0] if runs else None

    def knows(self, content: str) -> bool:
        """Whether a run with these results is there, under whatever name."""
        return bool(self.client.search_runs([self.experiment], f"tags.content = '{content}'", max_results=1))

    def mirrored(self, study: str) -> set[str]:
        """The names of the trials of a study whose mirror is whole."""
        names: set[str] = set()
        token = None
        while True:
            page = self.client.search_runs([self.experiment], f"tags.`optuna.study` = '{study}'", page_token=token)
            names |= {run.info.run_name for run in page if "content" in run.data.tags}
            token = page.token
            if not token:
                return names

    def parent(self, study: str) -> str:
        """The id of the run of a study, which is begun where it is not there."""
        with FileLock(HOME / "parent.lock"):  # two processes may work on one study
            if (found := self.find(study)) is None:
                self.client.create_run(self.experiment, run_name=study)
                found = self._one(_named(study))
        return found.info.run_id

    def write(self, record: Record) -> bool:
        """Mirror a finished run: what is there is kept, what is lacking added.

        Returns:
            Whether anything was lacking.
        """
        with FileLock(HOME / "write.lock"):  # two runs may catch up on a third at once
            if self.find(record.name, record.content) is not None:
                return False
            self._write(record)
        return True

    def _write(self, record: Record) -> None:
        run = Run(self, record.name, record.params, record.tags, self.find(record.name), record.study)
        run.log(record.points)
        self.attach(run.id, record.files)
        self.client.set_tag(run.id, "content", record.content)
        run.end(record.status)
        self._one(f"tags.content = '{record.content}' AND {_named(record.name)}")

    def _one(self, wanted: str) -> Any:
        """The first of the runs that another machine may have begun at the same time; the others are deleted."""
        first, *others = self.client.search_runs([self.experiment], wanted, order_by=["attributes.start_time ASC"])
        for other in others:
            self.client.delete_run(other.info.run_id)
        return first

    def attach(self, run: str, files: Mapping[str, Path | bytes]) -> None:
        """Keep files with a run, or their content, by the path among its artifacts."""
        with tempfile.TemporaryDirectory(dir=HOME) as folder:  # MLflow keeps files under the names they have
            for place, path in files.items():
                target = Path(folder) / place
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(path, bytes):
                    target.write_bytes(path)
                else:
                    shutil.copyfile(path, target)
            if files:
                self.client.log_artifacts(run, folder)


def _make_database(uri: str) -> None:
    SqlAlchemyStore(uri, (main_root() / "mlartifacts").as_uri()).engine.dispose()


class Run:
    """One run while it is written: the one that was found, where what it holds is no other run's.

    A finished run that has other parameters or results is left as it is, and another is begun under its name. One that
    was broken off is deleted: nothing refers to it.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        found: Any | None = None,
        study: str = "",
    ) -> None:
        self._client, self._experiment, self._name = store.client, store.experiment, name
        self._nested = {"mlflow.parentRunId": store.parent(study)} if study else {}
        self._params, self._tags = dict(params), dict(tags)
        self._there: dict[tuple[str, int], float] = {}
        if found is not None and all(
            params.get(key, "")[:LONGEST] == value for key, value in found.data.params.items()
        ):
            self.id: str = found.info.run_id
            for key in found.data.metrics:
                for point in self._client.get_metric_history(self.id, key):
                    self._there[key, point.step] = point.value
            self._describe()
        else:
            self._begin(found)

    def log(self, points: Points) -> None:
        """Add the points that are not there. If one is there with another value, another run is begun.

        How long things took is no result: the newer value is added, and MLflow shows it.
        """
        differ = {at for at, value in points.items() if self._there.get(at, value) != value}
        if any(name not in COST for name, _ in differ):
            self._begin(self._client.get_run(self.id))
        new = {at: value for at, value in points.items() if at not in self._there or at in differ}
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for (key, step), value in new.items()]
        for start in range(0, len(metrics), 1000):  # MLflow takes no more at once
            self._client.log_batch(self.id, metrics=metrics[start : start + 1000])
        self._there |= new

    def end(self, status: str) -> None:
        """Close the run as FINISHED or FAILED; it may be written on later."""
        self._client.set_terminated(self.id, status)

    def _begin(self, replaced: Any | None) -> None:
        if replaced is not None and "content" not in replaced.data.tags:
            self._client.delete_run(replaced.info.run_id)
        self._there = {}
        self.id = self._client.create_run(self._experiment, run_name=self._name, tags=self._nested).info.run_id
        self._describe()

    def _describe(self) -> None:
        params = [Param(key, value[:LONGEST]) for key, value in self._params.items()]
        for start in range(0, len(params), 100):
            self._client.log_batch(self.id, params=params[start : start + 100])
        self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in self._tags.items()])
