"""The registered model in MLflow: a version for each model that was good enough, and the one that `staging` is at.

The version that staging leaves is named in the tag `previous` of the one that takes its place.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
from filelock import FileLock
from mlflow.exceptions import MlflowException

from stages.base.failures import Failure
from stages.tracking.missed import HOME
from stages.tracking.store import Store, Unreachable, unusable

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
for _name in ("mlflow.pyfunc", "mlflow.store.model_registry.abstract_store"):  # they tell of each step
    logging.getLogger(_name).setLevel(logging.WARNING)

MODEL = "person-detector"
ALIAS = "staging"
NEEDED = ("mlflow", "ultralytics", "torch", "torchvision", "opencv-python")

_CODE = Path(__file__).with_name("served_model.py")
_WEIGHTS = "weights.pt"  # Ultralytics goes by the suffix, and DVC's cache has names without one
_EXAMPLE = np.zeros((8, 8, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Staged:
    """The version that the alias is at.

    Attributes:
        version: Its number, as MLflow writes it.
        tags: What is known of it: `weights` is the MD5 of its weights, `previous` the version that it replaced.
        run_id: The run that it was made by.
    """

    version: str
    tags: dict[str, str]
    run_id: str


def staged(target: Store) -> Staged | None:
    """What staging holds; None where there is no such model or alias.

    Raises:
        Unreachable: MLflow cannot be had.
    """
    try:
        at = target.client.get_registered_model(MODEL).aliases.get(ALIAS)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if at is None:
        return None
    found = target.client.get_model_version(MODEL, at)
    return Staged(str(found.version), dict(found.tags), found.run_id)


def weights_of(target: Store, held: Staged, folder: Path) -> Path:
    """Fetch the weights of a version into a folder, which is made where it is missing.

    Raises:
        Failure: The version was not registered by this project.
        Unreachable: MLflow or the files cannot be had.
    """
    if "weights" not in held.tags:
        raise Failure(f"{MODEL} version {held.version} has no tag `weights`: it was not registered by this project")
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"{_place(held.tags['weights'])}/artifacts/{_WEIGHTS}"
    return Path(target.client.download_artifacts(held.run_id, inside, str(folder)))


def register(target: Store, run_id: str, weights: Path, imgsz: int, tags: Mapping[str, str]) -> str:
    """Make a version of the model and move staging to it. Where a version has these weights already, it is taken.

    A kill at any moment leaves staging where it was, or at the whole new version; the same call again ends the work.

    Args:
        target: Where to.
        run_id: The run that keeps the files.
        weights: The model, with the names of its classes in it.
        imgsz: Pixels of the longest side that it was trained with.
        tags: What is to be known of the version. `weights` and `previous` are added.

    Returns:
        The version.

    Raises:
        Unreachable: MLflow cannot be had.
    """
    digest = hashlib.md5(weights.read_bytes()).hexdigest()
    with FileLock(HOME / "registry.lock"):  # two runs that end at once would both take one version for the previous
        held = staged(target)
        if held is not None and held.tags.get("weights") == digest:
            return held.version
        previous = held.version if held is not None else ""
        version = _known(target, digest)
        if version is None:
            tags = {**tags, "weights": digest, "previous": previous}
            version = _create(target, run_id, weights, imgsz, tags)
        else:
            target.client.set_model_version_tag(MODEL, version, "previous", previous)
        target.client.set_registered_model_alias(MODEL, ALIAS, version)
    return version


def undo(target: Store) -> str:
    """Move staging back to the version that it was at before; where there was none, remove it.

    Returns:
        A line that tells what was done.

    Raises:
        Failure: Staging is at no version, or the one before has been deleted.
        Unreachable: MLflow cannot be had.
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


def _known(target: Store, digest: str) -> str | None:
    """The version with these weights, if there is one."""
    found = target.client.search_model_versions(f"name = '{MODEL}' AND tags.weights = '{digest}'", max_results=1)
    return str(found[0].version) if found else None


def _create(target: Store, run_id: str, weights: Path, imgsz: int, tags: Mapping[str, str]) -> str:
    """Keep the model among the artifacts of its run, then make the version, which is never there without its files."""
    from mlflow import pyfunc  # a second that is not to be paid where nothing is registered

    from stages.tracking.served_model import SIGNATURE

    try:
        target.client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    place = _place(tags["weights"])
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        named = Path(folder) / _WEIGHTS
        shutil.copyfile(weights, named)
        model = Path(folder) / "model"
        pyfunc.save_model(
            model,
            python_model=_CODE,
            artifacts={"weights": str(named)},
            model_config={"imgsz": imgsz},
            signature=SIGNATURE,
            input_example=_EXAMPLE,
            # Without the local part: the package index has no 2.15.0+cpu. Given, so that MLflow does not look for them.
            pip_requirements=[f"{package}=={installed(package).partition('+')[0]}" for package in NEEDED],
        )
        target.client.log_artifacts(run_id, str(model), place)
    source = f"{target.client.get_run(run_id).info.artifact_uri}/{place}"
    return str(target.client.create_model_version(MODEL, source, run_id, tags=dict(tags)).version)


def _place(digest: str) -> str:
    """The folder among a run's artifacts; one for each model, so that no version's files are ever written over."""
    return f"detector/{digest}"


def show_staging(move_back: bool = False) -> None:
    """Print which version staging holds, or move it back to the version before and print that.

    Raises:
        Failure: MLflow cannot be used, or there is nothing to undo.
    """
    try:
        target = Store()
        print(undo(target) if move_back else _told(staged(target)))
    except Unreachable as error:
        raise Failure(unusable(error)) from error


def _told(held: Staged | None) -> str:
    if held is None:
        return f"{ALIAS} of {MODEL} is empty"
    lines = [f"{ALIAS} of {MODEL} is at version {held.version}, of run {held.run_id}"]
    return "\n".join([*lines, *(f"    {key}: {value}" for key, value in sorted(held.tags.items()))])
