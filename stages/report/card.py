"""The model card: what a model is, what it was made from, how good it is, and what it is not for.

Its sections are those of Mitchell and others, Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.base.formatting import markdown_table
from stages.base.git import commit, run_name
from stages.decision.significance import Estimate
from stages.decision.verdict import Decision
from stages.detector.as_is import AsIs
from stages.params.resolution import resolved
from stages.params.schema import GROUPS, Params
from stages.report.numbers import fixed
from stages.report.template import environment
from stages.tracking import registry

NAMES = {
    "mAP50": "mAP50",
    "mAP50-95": "mAP50-95",
    "mAP50_small": "mAP50 of small objects",
    "mAP50_medium": "mAP50 of medium objects",
    "mAP50_large": "mAP50 of large objects",
    "precision_at_threshold": "precision at the operating point",
    "recall_at_threshold": "recall at the operating point",
    "calibration_error": "calibration error",
}
DATA = {
    "synthetic": "Pictures of people that this project draws.",
    "coco128": "Photographs of COCO128, the first 128 pictures of COCO's training set.",
    "coco": "The user's own pictures, with annotations in COCO's form.",
    "yolo": "The user's own pictures, with labels in YOLO's form.",
}
LICENCES = {
    "synthetic": "The drawings are this project's own.",
    "coco128": "COCO's annotations have the licence CC BY 4.0. Its photographs are under the terms of use of Flickr.",
}
OWN_DATA = "The licence of the pictures is that of their owner. Check it before you share the model."


@dataclass(frozen=True)
class CardInputs:
    """The facts that a card is made from.

    Attributes:
        run: The name of its run in DVC and MLflow.
        is_workspace: Whether the model is the one of the workspace, and not a recommended one.
        commit: The commit that the run started from.
        arguments: The training arguments; `epochs` is 0 for a pretrained model without training.
        source: `data.source` of params.yaml.
        data: The content of data/prepared/summary.json.
        validated: mAP50 on the validation split, 0 to 1.
        tested: The metrics of the model on the test split, by the names of reports/evaluate/metrics.json.
        seconds: Of training; None if they are not known.
        setting: mAP50 of its setting on the test split over seeds and images; None for a single training.
    """

    run: str
    is_workspace: bool
    commit: str
    arguments: Mapping[str, Any]
    source: str
    data: Mapping[str, Any]
    validated: float
    tested: Mapping[str, float]
    seconds: float | None
    setting: Estimate | None = None

    @property
    def classes(self) -> list[str]:
        return list(self.data["classes"])

    @property
    def is_pretrained(self) -> bool:
        return str(self.arguments["model"]).endswith(".pt")

    @property
    def is_trained(self) -> bool:
        return bool(self.arguments.get("epochs"))

    @property
    def data_about(self) -> str:
        return DATA.get(self.source, "The user's own pictures.")

    @property
    def licence(self) -> str:
        return LICENCES.get(self.source, OWN_DATA)


def model_card(model: CardInputs) -> str:
    """Return the card in Markdown."""
    splits = [
        [split, f"{counts['images']:,}", f"{counts['boxes']:,}"] for split, counts in model.data["splits"].items()
    ]
    results = [[title, fixed(model.tested[name])] for name, title in NAMES.items() if name in model.tested]
    if "ms_per_image" in model.tested:
        results.append(["milliseconds per image, on the machine of the run", fixed(model.tested["ms_per_image"], 1)])
    lost = [
        f"{name.removeprefix('lost_')} {points:.1f}"
        for name, points in sorted(model.tested.items(), key=lambda item: -item[1])
        if name.startswith("lost_")
    ]
    facts = {
        "model": model,
        "name": registry.MODEL,
        "splits_table": "\n".join(markdown_table(("split", "images", "boxes"), splits)),
        "results_table": "\n".join(markdown_table(("metric", "value"), results)),
        "lost": ", ".join(lost),
    }
    return environment().get_template("model_card.md.j2").render(facts)


def card_of_workspace(params: Mapping[str, Any], data: Mapping[str, Any], reports: Path) -> str:
    """Return the card of the model in the workspace.

    Args:
        params: The content of params.yaml.
        data: The content of data/prepared/summary.json.
        reports: The folder with the metrics of stage train and stage evaluate.
    """
    trained, tested = (
        json.loads((reports / stage / "metrics.json").read_text(encoding="utf-8")) for stage in ("train", "evaluate")
    )
    return model_card(
        CardInputs(
            run=run_name(),
            is_workspace=True,
            commit=commit(),
            arguments=resolved({key: value for key, value in params.items() if key not in GROUPS}),
            source=params["data"]["source"],
            data=data,
            validated=trained["mAP50"],
            tested=tested,
            seconds=trained.get("train_seconds"),
        )
    )


def card_of_decision(decision: Decision, params: Params, data: Mapping[str, Any], as_is: AsIs | None) -> str:
    """Return the card of the recommended model; empty if no model is recommended.

    Args:
        decision: The decision.
        params: The content of params.yaml.
        data: The content of data/prepared/summary.json.
        as_is: The pretrained model without training; None if the trainings did not start from one.
    """
    model, recommended = decision.model, decision.recommended
    if model is None or recommended is None:
        return ""
    arguments = resolved({**params.written(), **recommended.setting.point, "seed": model.seed})
    if model.role == "as is" and as_is is not None:
        arguments = {"model": as_is.model, "head": as_is.head, "imgsz": as_is.imgsz, "epochs": 0}
    return model_card(
        CardInputs(
            run=model.name,
            is_workspace=False,
            commit=commit(),
            arguments=arguments,
            source=params.data.source,
            data=data,
            validated=model.validated,
            tested=model.metrics,
            seconds=model.seconds,
            setting=recommended.tested,
        )
    )
