"""A check of MLflow, the database of studies and DVC's remote, with the settings of this shell.

`python -m stages services` prints one line for each service, and changes nothing. All commands use the same variables:
MLFLOW_TRACKING_URI, OPTUNA_STORAGE (or `tune.storage`), and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from stages.base.failures import Failure
from stages.base.paths import main_root
from stages.params import file as params_file
from stages.services.databases import hidden, mlflow_address, sqlite_file, study_address
from stages.services.reasons import reason, unreadable_settings


def mlflow() -> str:
    """Request an experiment from MLflow, and the list of artifacts from a server; return the result in words.

    Raises:
        Exception: Any exception of MLflow's client, if MLflow cannot be used.
    """
    uri = mlflow_address()
    if _is_new(uri):
        return "the first run creates it"
    experiments = MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    if experiments and experiments[0].artifact_location.startswith("mlflow-artifacts:"):
        from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

        MlflowArtifactsRepository("mlflow-artifacts:/", tracking_uri=uri).list_artifacts()
        return "it answers, and serves artifacts"
    return "it answers"


def studies(uri: str) -> str:
    """Connect to the database of studies; return the result in words.

    Raises:
        Exception: Any exception of the database driver, if the database cannot be used.
    """
    if _is_new(uri):
        return "the first study creates it"
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
    return "it answers"


def remote(repo: Any) -> str:
    """List the files in DVC's remote; return the result in words.

    Raises:
        Exception: Any exception of the remote's client, if the remote cannot be used.
    """
    default = repo.cloud.get_remote()
    try:
        default.fs.ls(default.path)
    except FileNotFoundError as error:
        if error.__cause__ is not None:  # an error of the store itself: the bucket does not exist
            raise
        return "it answers, and is empty"
    return "it answers"


def _is_new(uri: str) -> bool:
    file = sqlite_file(uri)
    return file is not None and not file.exists()


def _remote_address(config: Any) -> str:
    """Return the address of DVC's default remote."""
    settings = config["remote"].get(config["core"].get("remote"), {})
    return " at ".join(filter(None, (settings.get("url"), settings.get("endpointurl")))) or "no default remote"


def _print_result(name: str, uri: str, test: Callable[[], str]) -> bool:
    """Test a service and print the result; return whether the service can be used."""
    try:
        answer = test()
    except Exception as error:  # each driver has its own exceptions, and the other services must be tested too
        print(f"{name:<8} {hidden(uri)}: cannot be used ({reason(error, uri)})")
        return False
    print(f"{name:<8} {hidden(uri)}: {answer}")
    return True


def check() -> None:
    """Print whether each service can be used.

    Raises:
        Failure: One of them cannot be used.
    """
    from dvc.config import ConfigError  # DVC takes a second to import
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    database = study_address(params_file.load().tune.storage)
    answered = [
        _print_result("MLflow", mlflow_address(), mlflow),
        _print_result("studies", database, lambda: studies(database)),
    ]
    try:
        with Repo(str(main_root())) as repo:
            answered.append(_print_result("DVC", _remote_address(repo.config), lambda: remote(repo)))
    except ConfigError as error:
        raise unreadable_settings() from error
    except DvcException as error:
        raise Failure(f"DVC: {error}") from error
    if not all(answered):
        raise Failure(f"{answered.count(False)} of {len(answered)} cannot be used")
