"""Which MLflow, database of studies and DVC remote the commands of this shell would use, and whether they can.

`python -m stages services` prints a line for each, and changes nothing. The same variables name them everywhere:
MLFLOW_TRACKING_URI, OPTUNA_STORAGE (or `tune.storage`), and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from stages.base.failures import Failure
from stages.base.paths import main_root
from stages.params.file import PARAMS, read
from stages.services.databases import hidden, mlflow_address, sqlite_file, study_address
from stages.services.reasons import reason


def mlflow() -> str:
    """Ask MLflow for an experiment, and a server for its artifacts.

    Raises:
        Exception: What MLflow's client raises where it cannot be had.
    """
    uri = mlflow_address()
    if _is_new(uri):
        return "the first run makes it"
    found = MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    if found and found[0].artifact_location.startswith("mlflow-artifacts:"):
        from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

        MlflowArtifactsRepository("mlflow-artifacts:/", tracking_uri=uri).list_artifacts()
        return "it answers, and serves artifacts"
    return "it answers"


def studies(uri: str) -> str:
    """Connect to the database of studies.

    Raises:
        Exception: What its driver raises where it cannot be had.
    """
    if _is_new(uri):
        return "the first study makes it"
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
    return "it answers"


def remote(repo: Any) -> str:
    """List what is in DVC's remote.

    Raises:
        Exception: What its client raises where it cannot be had.
    """
    found = repo.cloud.get_remote()
    try:
        found.fs.ls(found.path)
    except FileNotFoundError as error:
        if error.__cause__ is not None:  # the store's own word: a bucket that is not there
            raise
        return "it answers, and is empty"
    return "it answers"


def _is_new(uri: str) -> bool:
    file = sqlite_file(uri)
    return file is not None and not file.exists()


def _place(config: Any) -> str:
    """Where DVC's default remote is."""
    known = config["remote"].get(config["core"].get("remote"), {})
    return " at ".join(filter(None, (known.get("url"), known.get("endpointurl")))) or "no default remote"


def _told(name: str, uri: str, ask: Callable[[], str]) -> bool:
    """Say what came of a question; returns whether it was answered."""
    try:
        answer = ask()
    except Exception as error:  # each driver has errors of its own, and the other services are to be asked too
        print(f"{name:<8} {hidden(uri)}: cannot be used ({reason(error, uri)})")
        return False
    print(f"{name:<8} {hidden(uri)}: {answer}")
    return True


def check() -> None:
    """Print whether each service can be used.

    Raises:
        Failure: One of them cannot be used.
    """
    from dvc.exceptions import DvcException  # DVC takes a second
    from dvc.repo import Repo

    database = study_address(read(PARAMS).get("tune", {}).get("storage"))
    answered = [_told("MLflow", mlflow_address(), mlflow), _told("studies", database, lambda: studies(database))]
    try:
        with Repo(str(main_root())) as repo:
            answered.append(_told("DVC", _place(repo.config), lambda: remote(repo)))
    except DvcException as error:
        raise Failure(f"DVC: {error}") from error
    if not all(answered):
        raise Failure(f"{answered.count(False)} of {len(answered)} cannot be used")
