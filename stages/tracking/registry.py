"""The registered model in MLflow: one version for each accepted model, and the alias `staging` on one of them.

When staging moves to another version, the tag `previous` of that version names the version before it.
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
for _name in ("mlflow.pyfunc", "mlflow.store.model_registry.abstract_store"):  # they log each step
    logging.getLogger(_name).setLevel(logging.WARNING)

MODEL = "person-detector"
ALIAS = "staging"
EXPORTED = "exported"  # folder of a version with the model in other formats
NEEDED = ("mlflow", "ultralytics", "torch", "torchvision", "opencv-python")

_CODE = Path(__file__).with_name("served_model.py")
_WEIGHTS = "weights.pt"  # Ultralytics needs the suffix, and files in DVC's cache have none
_EXAMPLE = np.zeros((8, 8, 3), dtype=np.uint8)


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
    folder.mkdir(parents=True, exist_ok=True)
    path = f"{_folder_of(held.tags)}/artifacts/{_WEIGHTS}"
    return Path(target.client.download_artifacts(held.run_id, path, str(folder)))


def register(
    target: Store,
    run_id: str,
    weights: Path,
    imgsz: int,
    confidence: float,
    tags: Mapping[str, str],
    exported: Path | None = None,
) -> str:
    """Create a version of the model and move staging to it. If a version already is this model, move to that one.

    A kill at any moment leaves staging at the old version or at the complete new one. The same call again completes the
    work.

    Args:
        target: The connection to MLflow.
        run_id: The run that keeps the files.
        weights: The model file, which has the names of its classes.
        imgsz: The longest side of the training images in pixels.
        confidence: The operating point: boxes over it are the model's answer by default, 0 to 1.
        tags: Facts about the version. `weights`, `threshold` and `previous` are added.
        exported: A folder with the model in other formats. The version has its files in `exported`. An existing version
            keeps the files that it has.

    Returns:
        The version.

    Raises:
        Unreachable: MLflow cannot be used.
    """
    model = {"weights": hashlib.md5(weights.read_bytes()).hexdigest(), "threshold": f"{confidence}"}
    with FileLock(HOME / "registry.lock"):  # else two runs that end at the same time would both get the same `previous`
        held = staged(target)
        if held is not None and is_model(held, model):
            return held.version
        previous = held.version if held is not None else ""
        version = _version_with(target, model)
        if version is None:
            tags = {**tags, **model, "previous": previous}
            version = _create(target, run_id, weights, imgsz, confidence, tags, exported)
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


def _create(
    target: Store,
    run_id: str,
    weights: Path,
    imgsz: int,
    confidence: float,
    tags: Mapping[str, str],
    exported: Path | None,
) -> str:
    """Add the model to the artifacts of its run, then create the version: no version exists without its files."""
    from mlflow import pyfunc  # takes a second to import, and most runs register nothing

    from stages.tracking.served_model import signature

    try:
        target.client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    path = _folder_of(tags)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        named = Path(folder) / _WEIGHTS
        shutil.copyfile(weights, named)
        model = Path(folder) / "model"
        pyfunc.save_model(
            model,
            python_model=_CODE,
            artifacts={"weights": str(named)},
            model_config={"imgsz": imgsz, "confidence": confidence},
            signature=signature(confidence),
            input_example=_EXAMPLE,
            # Listed, so that MLflow does not search for them; without the local part: no index has torch 2.15.0+cpu.
            pip_requirements=[f"{package}=={installed(package).partition('+')[0]}" for package in NEEDED],
        )
        if exported is not None:
            shutil.copytree(exported, model / EXPORTED)
        target.client.log_artifacts(run_id, str(model), path)
    source = f"{target.client.get_run(run_id).info.artifact_uri}/{path}"
    return str(target.client.create_model_version(MODEL, source, run_id, tags=dict(tags)).version)


def _folder_of(tags: Mapping[str, str]) -> str:
    """Return the folder of a version among a run's artifacts. Each has its own, so no files are overwritten.

    Versions from before operating points have no tag `threshold`.
    """
    return "/".join(["detector", tags["weights"], *([tags["threshold"]] if "threshold" in tags else [])])


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
