"""The connection to MLflow, and the runs in it: one run per name. To write a run again doubles nothing.

Metrics in MLflow: `mAP50`, `train/box_loss` and so on are curves over the epochs, measured on the validation split.
`val/mAP50` and `test/mAP50` are single numbers of the finished model on that split.

If the server cannot be reached, the run goes on, and the mirror is made later from the data that DVC keeps.
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
from stages.tracking.dataset import dataset_input
from stages.tracking.missed import HOME
from stages.tracking.record import COST, DIGEST_TAG, Points, Record

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it may hold a password
# Else a server on S3 redirects its clients to the store, whose address may be valid on the server only (MLflow 3.17).
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
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # MLflow's own tag for model training
LONGEST = 6000  # characters: MLflow's limit for the value of a parameter

Unreachable = (MlflowException, SQLAlchemyError, OSError)
"""Exceptions of MLflow's client if its server or its files cannot be used."""


def _named(name: str) -> str:
    """Return MLflow's filter for the runs of a name."""
    quote = '"' if "'" in name else "'"
    return f"attributes.run_name = {quote}{name}{quote}"


def unusable(error: BaseException) -> str:
    """Return a message that MLflow cannot be used, with its address and the reason."""
    return f"MLflow at {hidden(mlflow_address())} cannot be used ({reason(error, mlflow_address())})"


class Store:
    """A connection to MLflow.

    Raises:
        Unreachable: From the constructor and from every method, if MLflow cannot be used.
    """

    def __init__(self, uri: str | None = None) -> None:
        uri = uri or mlflow_address()
        HOME.mkdir(exist_ok=True)
        with FileLock(HOME / "database.lock"):  # two processes that create one SQLite database destroy it
            make_whole(uri, _make_database)
            self.client = MlflowClient(tracking_uri=uri)
            self.experiment = self._experiment(local="://" in uri and not uri.startswith(("http", "databricks")))
        if not self.experiment:  # the client takes any JSON, and a page in HTML, for an answer
            raise MlflowException("it does not answer as MLflow does")

    def _experiment(self, local: bool) -> str:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            if KIND not in experiment.tags:  # it is from an earlier version of this project
                self._set_kind(experiment.experiment_id)
            return experiment.experiment_id
        artifacts = (main_root() / "mlartifacts").as_uri() if local else None
        try:
            return self.client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags={KIND: TRAINING})
        except MlflowException:  # another machine was faster
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
            return experiment.experiment_id

    def _set_kind(self, experiment: str) -> None:
        try:
            self.client.set_experiment_tag(experiment, KIND, TRAINING)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":  # an account that may only read goes on without
                raise

    def find(self, name: str, content: str | None = None) -> Any | None:
        """Return the newest run of a name; None if there is none.

        Args:
            name: The name of the run.
            content: The digest of the results that the run must have; None for any results.
        """
        query = _named(name)
        if content is not None:
            query += f" AND tags.content = '{content}'"
        runs = self.client.search_runs([self.experiment], query, order_by=["attributes.start_time DESC"])
        return runs[0] if runs else None

    def has_results(self, content: str) -> bool:
        """Return whether a run of any name has these results."""
        return bool(self.client.search_runs([self.experiment], f"tags.content = '{content}'", max_results=1))

    def mirrored(self, study: str) -> set[str]:
        """Return the names of the trials of a study that are complete in MLflow."""
        names: set[str] = set()
        token = None
        while True:
            page = self.client.search_runs([self.experiment], f"tags.`optuna.study` = '{study}'", page_token=token)
            names |= {run.info.run_name for run in page if "content" in run.data.tags}
            token = page.token
            if not token:
                return names

    def parent(self, study: str) -> str:
        """Return the id of the run of a study. If there is none, create it."""
        with FileLock(HOME / "parent.lock"):  # two processes may work on one study
            if (run := self.find(study)) is None:
                self.client.create_run(self.experiment, run_name=study)
                run = self._keep_first(_named(study))
        return run.info.run_id

    def log_dataset(self, run: str, digest: str) -> None:
        """Add the data with this digest to the inputs of a run. If the run has it, nothing changes."""
        self.client.log_inputs(run, [dataset_input(digest)])

    def add_missing_datasets(self) -> int:
        """Add the data to the inputs of the runs that lack it, and return their number.

        These are runs that an earlier version of this project has mirrored.
        """
        lacking: dict[str, str] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment], page_token=token)
            for run in page:
                if DIGEST_TAG in run.data.tags and not run.inputs.dataset_inputs:
                    lacking[run.info.run_id] = run.data.tags[DIGEST_TAG]
            token = page.token
            if not token:
                break
        for run_id, digest in lacking.items():
            self.log_dataset(run_id, digest)
        return len(lacking)

    def write(self, record: Record) -> bool:
        """Mirror a finished run. Data that MLflow already has is kept, and missing data is added.

        Returns:
            Whether any data was missing.
        """
        with FileLock(HOME / "write.lock"):  # two runs may mirror a third one at the same time
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
        self._keep_first(f"tags.content = '{record.content}' AND {_named(record.name)}")

    def _keep_first(self, query: str) -> Any:
        """Return the oldest run of a query, and delete those that other machines have begun at the same time."""
        first, *others = self.client.search_runs([self.experiment], query, order_by=["attributes.start_time ASC"])
        for other in others:
            self.client.delete_run(other.info.run_id)
        return first

    def log_params(self, run: str, params: Mapping[str, str]) -> None:
        """Add parameters to a run. A long value is cut."""
        new = [Param(key, value[:LONGEST]) for key, value in params.items()]
        for start in range(0, len(new), 100):  # MLflow takes at most 100 at once
            self.client.log_batch(run, params=new[start : start + 100])

    def attach(self, run: str, files: Mapping[str, Path | bytes]) -> None:
        """Add files to a run, or their content, by their path among its artifacts."""
        with tempfile.TemporaryDirectory(dir=HOME) as folder:  # MLflow keeps the names that the files have
            for path, file in files.items():
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(file, bytes):
                    target.write_bytes(file)
                else:
                    shutil.copyfile(file, target)
            if files:
                self.client.log_artifacts(run, folder)


def _make_database(uri: str) -> None:
    SqlAlchemyStore(uri, (main_root() / "mlartifacts").as_uri()).engine.dispose()


class Run:
    """A run in MLflow that is being written: an existing one if parameters, data and results agree, else a new one.

    A complete run stays as it is. If its parameters, data or results are other ones, a new run gets the same name. An
    incomplete run with other ones is deleted: nothing refers to it.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        existing: Any | None = None,
        study: str = "",
    ) -> None:
        """Open the run.

        Args:
            store: The connection to MLflow.
            name: The name of the run.
            params: Its parameters.
            tags: Its tags.
            existing: A run of that name in MLflow, if there is one.
            study: The study that the run is a trial of, if it is one.
        """
        self._store, self._client, self._experiment, self._name = store, store.client, store.experiment, name
        self._nested = {"mlflow.parentRunId": store.parent(study)} if study else {}
        self._params, self._tags = dict(params), dict(tags)
        self._logged: dict[tuple[str, int], float] = {}
        if existing is not None and self._agrees(existing):
            self.id: str = existing.info.run_id
            self._is_complete = "content" in existing.data.tags
            for key in existing.data.metrics:
                for point in self._client.get_metric_history(self.id, key):
                    self._logged[key, point.step] = point.value
            if not self._is_complete:
                self._describe()
        else:
            self._begin(existing)

    def _agrees(self, existing: Any) -> bool:
        """Return whether a run has no other parameters and no other data than these."""
        digest = self._tags.get(DIGEST_TAG)
        params = existing.data.params.items()
        return existing.data.tags.get(DIGEST_TAG, digest) == digest and all(
            self._params.get(key, "")[:LONGEST] == value for key, value in params
        )

    def log(self, points: Points) -> None:
        """Add the points that the run does not have. If it has a point with another value, begin a new run.

        Times are not results: the newer value is added to the run, and MLflow shows it.
        """
        differing = {key for key, value in points.items() if self._logged.get(key, value) != value}
        if any(name not in COST for name, _ in differing):
            self._begin(self._client.get_run(self.id))
        new = {key: value for key, value in points.items() if key not in self._logged or key in differing}
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for (key, step), value in new.items()]
        for start in range(0, len(metrics), 1000):  # MLflow takes at most 1000 at once
            self._client.log_batch(self.id, metrics=metrics[start : start + 1000])
        self._logged |= new

    def end(self, status: str) -> None:
        """Close the run as FINISHED or FAILED, unless it was complete before. A closed run can still be written."""
        if not self._is_complete:
            self._client.set_terminated(self.id, status)

    def _begin(self, replaced: Any | None) -> None:
        if replaced is not None and "content" not in replaced.data.tags:
            self._client.delete_run(replaced.info.run_id)
        self._logged, self._is_complete = {}, False
        self.id = self._client.create_run(self._experiment, run_name=self._name, tags=self._nested).info.run_id
        self._describe()

    def _describe(self) -> None:
        self._store.log_params(self.id, self._params)
        self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in self._tags.items()])
        if digest := self._tags.get(DIGEST_TAG):
            self._store.log_dataset(self.id, digest)
