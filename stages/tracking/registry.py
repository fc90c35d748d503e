"""The registered model in MLflow: one version for each accepted model, and the alias `staging` on one of them.

When staging moves to another version, the tag `previous` of that version names the version before it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from stages.base.failures import Failure
from stages.base.files import md5
from stages.tracking.logged_model import MODEL, WEIGHTS, Proposal, log_model
from stages.tracking.missed import HOME
from stages.tracking.store import Store, Unreachable, unusable

logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)  # it logs each step

ALIAS = "staging"
LONGEST_DESCRIPTION = 5000  # characters: the limit of MLflow's registry


@dataclass(frozen=True)
class Staged:
    """The version in staging.

    Attributes:
        version: The number of the version, as MLflow writes it.
        tags: Facts about the version: `weights` is the MD5 of its weights, `threshold` its operating point (0 to 1),
            `previous` the version that it replaced.
        run_id: The run that made the version.
    """

    version: str
    tags: dict[str, str]
    run_id: str


def staged(target: Store) -> Staged | None:
    """Return the version in staging; None if there is no such model or alias.

    Raises:
        Unreachable: MLflow cannot be used.
    """
    try:
        number = target.client.get_registered_model(MODEL).aliases.get(ALIAS)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if number is None:
        return None
    version = target.client.get_model_version(MODEL, number)
    return Staged(str(version.version), dict(version.tags), version.run_id)


def weights_of(target: Store, held: Staged, folder: Path) -> Path:
    """Download the weights of a version into a folder, and return their path. A missing folder is created.

    Raises:
        Failure: The version was not registered by this project.
        Unreachable: MLflow or the files cannot be used.
    """
    if "weights" not in held.tags:
        raise Failure(f"{MODEL} version {held.version} has no tag `weights`: it was not registered by this project")
    files = target.client.get_model_version_download_uri(MODEL, held.version)
    return Path(
        mlflow.artifacts.download_artifacts(
            f"{files}/artifacts/{WEIGHTS}", dst_path=str(folder), tracking_uri=str(target.client.tracking_uri)
        )
    )


def register(target: Store, proposal: Proposal) -> str:
    """Create a version of the model and move staging to it. If a version already is this model, move to that one.

    An existing version keeps its files and its description. A kill at any moment leaves staging at the old version or
    at the complete new one. The same call again completes the work.

    Returns:
        The version.

    Raises:
        Unreachable: MLflow cannot be used.
    """
    model = {"weights": md5(proposal.weights), "threshold": f"{proposal.confidence}"}
    with FileLock(HOME / "registry.lock"):  # else two runs that end at the same time would both get the same `previous`
        held = staged(target)
        if held is not None and is_model(held, model):
            return held.version
        previous = held.version if held is not None else ""
        version = _version_with(target, model)
        if version is None:
            version = _create(target, proposal, {**proposal.tags, **model, "previous": previous}, model)
        else:
            target.client.set_model_version_tag(MODEL, version, "previous", previous)
        target.client.set_registered_model_alias(MODEL, ALIAS, version)
    return version


def undo(target: Store) -> str:
    """Move staging back to the version before the present one. If there was none, empty staging.

    Returns:
        A message with the new and the old version.

    Raises:
        Failure: Staging is empty, or the version before has been deleted.
        Unreachable: MLflow cannot be used.
    """
    with FileLock(HOME / "registry.lock"):
        held = staged(target)
        if held is None:
            raise Failure(f"{MODEL} has no version in {ALIAS}: there is nothing to undo")
        previous = held.tags.get("previous")
        if not previous:
            target.client.delete_registered_model_alias(MODEL, ALIAS)
            return f"{ALIAS} of {MODEL} is empty: version {held.version} was the first in it"
        try:
            target.client.set_registered_model_alias(MODEL, ALIAS, previous)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise Failure(
                f"{MODEL} version {previous}, which {ALIAS} was at before version {held.version}, has been deleted; "
                f"{ALIAS} stays; set it to another version on MLflow's page"
            ) from error
        return f"{ALIAS} of {MODEL} is at version {previous} again, not at version {held.version}"


def is_model(held: Staged, tags: Mapping[str, str]) -> bool:
    """Return whether a version has the weights and the operating point of these tags."""
    return all(held.tags.get(name) == tags[name] for name in ("weights", "threshold"))


def _version_with(target: Store, tags: Mapping[str, str]) -> str | None:
    """Return the version with the weights and the operating point of these tags, if there is one."""
    wanted = f"name = '{MODEL}' AND tags.weights = '{tags['weights']}' AND tags.threshold = '{tags['threshold']}'"
    versions = target.client.search_model_versions(wanted, max_results=1)
    return str(versions[0].version) if versions else None


def _create(target: Store, proposal: Proposal, tags: Mapping[str, str], identity: Mapping[str, str]) -> str:
    """Log the model with its files, then create the version: no version exists without its files."""
    try:
        target.client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = log_model(target, proposal, identity)
    with _default_address(str(target.client.tracking_uri)):
        version = target.client.create_model_version(
            MODEL,
            f"models:/{model_id}",  # only with this source, the page of the version has a link to the model
            proposal.run_id,
            tags=dict(tags),
            description=_fitting(proposal.description) or None,
            model_id=model_id,
        )
    # Names the version on the page of the model. A server does it by itself, a database does not (MLflow 3.17).
    versions = [{"name": MODEL, "version": version.version}]
    target.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)})
    return str(version.version)


@contextmanager
def _default_address(uri: str) -> Iterator[None]:
    """Make an address that of MLflow's own default client.

    If the address is a database, MLflow 3.17 looks up the source of a new version with its default client.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _fitting(description: str) -> str:
    """Return a description that MLflow's registry can keep. A longer one ends at a line, and says so."""
    if len(description) <= LONGEST_DESCRIPTION:
        return description
    ending = f"\n\nThe rest is left out: MLflow keeps {LONGEST_DESCRIPTION} characters.\n"
    return description[: LONGEST_DESCRIPTION - len(ending)].rpartition("\n")[0] + ending


def show_staging(move_back: bool = False) -> None:
    """Print the version in staging, or move staging back to the version before and print that.

    Raises:
        Failure: MLflow cannot be used, or there is nothing to undo.
    """
    try:
        target = Store()
        print(undo(target) if move_back else _text(staged(target)))
    except Unreachable as error:
        raise Failure(unusable(error)) from error


def _text(held: Staged | None) -> str:
    if held is None:
        return f"{ALIAS} of {MODEL} is empty"
    lines = [f"{ALIAS} of {MODEL} is at version {held.version}, of run {held.run_id}"]
    return "\n".join([*lines, *(f"    {key}: {value}" for key, value in sorted(held.tags.items()))])
