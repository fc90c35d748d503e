"""The model of a run in MLflow ("logged model"): its files, the parameters that it was trained with, and its metrics.

A version in the registry points to it. Its page compares models, and names the data of each metric.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import LoggedModelOutput, Metric

from stages.tracking.missed import HOME
from stages.tracking.store import Store

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it logs each step

MODEL = "person-detector"
EXPORTED = "exported"  # folder of a model with its other formats
WEIGHTS = "weights.pt"  # Ultralytics needs the suffix, and files in DVC's cache have none
NEEDED = ("mlflow", "ultralytics", "torch", "torchvision", "opencv-python")

_CODE = Path(__file__).with_name("served_model.py")
_EXAMPLE = np.zeros((8, 8, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Proposal:
    """A model to register.

    Attributes:
        run_id: The run that made the model.
        weights: The model file, which has the names of its classes.
        imgsz: The longest side of the training images in pixels.
        confidence: The operating point: boxes over it are the model's answer by default, 0 to 1.
        tags: Facts about the version. `weights`, `threshold` and `previous` are added.
        exported: A folder with the model in other formats. The version has its files in `exported`.
        description: Markdown for the page of the version; empty for none.
    """

    run_id: str
    weights: Path
    imgsz: int
    confidence: float
    tags: Mapping[str, str]
    exported: Path | None = None
    description: str = ""


def log_model(target: Store, proposal: Proposal, identity: Mapping[str, str]) -> str:
    """Create the model of a run in MLflow, and return its id. If an earlier call was interrupted, complete its model.

    Args:
        target: The connection to MLflow.
        proposal: The model.
        identity: The tags that tell this model from others: `weights` and `threshold`.

    Raises:
        Unreachable: MLflow cannot be used.
    """
    client = target.client
    run = client.get_run(proposal.run_id)
    model_id = _begun(target, proposal.run_id, identity)
    if model_id is None:
        # Parameters with a dot belong to other stages, or to the data.
        params = {key: value for key, value in run.data.params.items() if "." not in key}
        created = client.create_logged_model(target.experiment, MODEL, proposal.run_id, dict(identity), params)
        model_id = str(created.model_id)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        client.log_model_artifacts(model_id, str(_save(proposal, model_id, Path(folder))))
    _log_metrics(target, run, model_id)
    if model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client.log_outputs(proposal.run_id, [LoggedModelOutput(model_id, step=0)])
    client.finalize_logged_model(model_id, "READY")
    return model_id


def _begun(target: Store, run_id: str, identity: Mapping[str, str]) -> str | None:
    """Return the id of the model that an earlier call has created for the run, if there is one."""
    wanted = [f"source_run_id = '{run_id}'", *(f"tags.{key} = '{value}'" for key, value in identity.items())]
    models = target.client.search_logged_models([target.experiment], " AND ".join(wanted), max_results=1)
    return str(models[0].model_id) if models else None


def _save(proposal: Proposal, model_id: str, folder: Path) -> Path:
    """Write the files of a model to a new folder in `folder`, and return that folder."""
    from mlflow import pyfunc  # takes a second to import, and most runs register nothing
    from mlflow.models import Model

    from stages.tracking.served_model import signature

    named = folder / WEIGHTS
    shutil.copyfile(proposal.weights, named)
    model = folder / "model"
    pyfunc.save_model(
        model,
        mlflow_model=Model(run_id=proposal.run_id, model_id=model_id),
        python_model=_CODE,
        artifacts={"weights": str(named)},
        model_config={"imgsz": proposal.imgsz, "confidence": proposal.confidence},
        signature=signature(proposal.confidence),
        input_example=_EXAMPLE,
        # Listed, so that MLflow does not search for them; without the local part: no index has torch 2.15.0+cpu.
        pip_requirements=[f"{package}=={installed(package).partition('+')[0]}" for package in NEEDED],
    )
    if proposal.exported is not None:
        shutil.copytree(proposal.exported, model / EXPORTED)
    return model


def _log_metrics(target: Store, run: Any, model_id: str) -> None:
    """Give a model the metrics of its run that were measured on a whole split, each with the data set.

    They are the run's own points, with its times, so MLflow adds no point to the run.
    """
    dataset = next((dataset_input.dataset for dataset_input in run.inputs.dataset_inputs), None)
    metrics = []
    for key in sorted(run.data.metrics):
        if key.startswith(("val/", "test/")):
            point = target.client.get_metric_history(run.info.run_id, key)[-1]
            metrics.append(
                Metric(
                    key,
                    point.value,
                    point.timestamp,
                    point.step,
                    model_id=model_id,
                    dataset_name=dataset.name if dataset is not None else None,
                    dataset_digest=dataset.digest if dataset is not None else None,
                    run_id=run.info.run_id,
                )
            )
    target.client.log_batch(run.info.run_id, metrics=metrics)
