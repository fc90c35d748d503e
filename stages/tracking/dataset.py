"""The data set of a run, as MLflow shows it."""

from __future__ import annotations

import json

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from stages.base.paths import DATA_SUMMARY, PREPARED_DATA, ROOT

LONGEST_DIGEST = 36  # characters: MLflow's limit


def dataset_input(digest: str) -> DatasetInput:
    """Return the prepared data as the input of a run. Its images are not read.

    Name and digest are the same for every run on the same data. MLflow keeps one data set for each pair of them, with
    the profile of the first run that logs it.

    Args:
        digest: `digest` of the data's summary.json. MLflow gets its first 36 characters.
    """
    return DatasetInput(
        Dataset(
            name=PREPARED_DATA,
            digest=digest[:LONGEST_DIGEST],
            source_type="local",  # MLflow's name for a path; `dvc get` and `dvc checkout` fill it
            source=json.dumps({"uri": PREPARED_DATA}),
            profile=_profile(digest),
        ),
        [InputTag(MLFLOW_DATASET_CONTEXT, "training")],
    )


def _profile(digest: str) -> str | None:
    """Return the numbers of images and boxes of each split, if this checkout has the data."""
    try:
        summary = json.loads((ROOT / DATA_SUMMARY).read_text(encoding="utf-8"))
        if summary["digest"] != digest:
            return None
        splits = summary["splits"].items()
        return json.dumps({split: f"{part['images']} images, {part['boxes']} boxes" for split, part in splits})
    except (OSError, LookupError, ValueError):  # the run matters more than the report of its data
        return None
