"""Check that results belong to a model and to parameters.

Every question of the kind "are these the metrics of this model and of these parameters?" is answered here. dvc.lock
keeps the parameters of each stage, and the MD5 of each file that it has read and written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.files import md5
from stages.base.paths import BEST_MODEL, PREPARED_DATA, TEST_METRICS, TRAIN_METRICS
from stages.experiments.identity import code_digests, evaluation_params
from stages.experiments.lock import Lock, dependencies, outputs, parameters, read_lock
from stages.params.file import read


def stale_reason(folder: Path) -> str:
    """Return why the metrics in a folder are not those of its params.yaml; empty if they are.

    Raises:
        Failure: params.yaml or dvc.lock is missing or damaged.
    """
    params, lock = read(folder / "params.yaml"), read_lock(folder)
    for stage in ("prepare", "train", "evaluate"):
        if (key := changed_key(lock, stage, params)) is not None:
            return f"{key} in params.yaml was changed since the last run"
        for path, digest in outputs(lock, stage).items():
            if path in (TRAIN_METRICS, TEST_METRICS) and not _has_digest(folder / path, digest):
                return f"{path} is not the one of the last run"
    return ""


def is_evaluated(folder: Path) -> bool:
    """Return whether a folder holds the evaluation of its model, so that DVC will not evaluate the model again."""
    try:
        params, lock = read(folder / "params.yaml"), read_lock(folder)
        files = dependencies(lock, "evaluate") | outputs(lock, "evaluate")
        return (
            changed_key(lock, "evaluate", params) is None
            and files.pop(PREPARED_DATA) == outputs(lock, "prepare")[PREPARED_DATA]
            and all(_has_digest(folder / path, digest) for path, digest in files.items())
        )
    except (LookupError, Failure):
        return False


def changed_key(lock: Lock, stage: str, params: Mapping[str, Any]) -> str | None:
    """Return the first key whose value is not the one that a stage has used; None if all are equal."""
    used = parameters(lock, stage)
    return next((key for key, value in used.items() if params.get(key) != value), None)


def is_test_of_model(trained: str | None, evaluated: str | None) -> bool:
    """Return whether the test metrics of a run were measured on its model.

    `dvc exp run train` makes another model, and leaves the test metrics of the model before it.

    Args:
        trained: MD5 of the model that stage train has written; None if unknown.
        evaluated: MD5 of the model that stage evaluate has read; None if unknown.
    """
    return trained == evaluated


def is_evaluation_of_model(lock: Lock) -> bool:
    """Return whether stage evaluate has read the model that stage train has written."""
    trained = outputs(lock, "train").get(BEST_MODEL)
    return trained is not None and is_test_of_model(trained, dependencies(lock, "evaluate").get(BEST_MODEL))


def is_test_of_run(lock: Lock) -> bool:
    """Return whether the test metrics of a run were measured on its model, by the present code and with its parameters.

    The parameters are those of the group `evaluate`. The caller compares the training keys.
    """
    is_of_code = code_digests("evaluate").items() <= dependencies(lock, "evaluate").items()
    return (
        is_evaluation_of_model(lock)
        and is_of_code
        and parameters(lock, "evaluate").get("evaluate") == evaluation_params()
    )


def is_export_of_run(lock: Lock) -> bool:
    """Return whether the export of a run was made from its model."""
    return dependencies(lock, "export").get(BEST_MODEL) == outputs(lock, "train").get(BEST_MODEL)


def is_output(lock: Lock, stage: str, path: str, content: bytes) -> bool:
    """Return whether a file has the content that a stage has written."""
    return outputs(lock, stage).get(path) == hashlib.md5(content).hexdigest()


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and md5(path) == digest
