"""Warn about a training that destroys the pretrained weights it starts from.

A learning rate that is right for an untrained network is far too high for a trained one. After a few steps the model
has lost its abilities, and a short training does not restore them. Nothing fails then. Only the result is poor.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages.base.failures import BadParams
from stages.detector.as_is import AsIs
from stages.params.preset import values_of
from stages.params.schema import Params

if TYPE_CHECKING:
    from stages.detector.training import Epoch, Listener

SAFE_LR0 = 2.0e-4
"""The highest learning rate that preserved pretrained weights in benchmarks/finetune.py."""

# Optimizers whose steps do not depend on the size of the gradient.
_ADAPTIVE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp")
LOST = 0.5  # share of the mAP50 without training: below that after the first epoch, the weights are being destroyed

PRESET = "tiny_coco"


def risk(params: Params) -> str:
    """Return the reason why a training would destroy its pretrained weights, or an empty text if it would not."""
    if not params.model.endswith(".pt"):
        return ""
    if params.optimizer == "auto":
        return (
            f"optimizer: auto chooses its own learning rate, which destroys the weights of {params.model} in a short "
            f"training; {_advice()}"
        )
    if params.optimizer not in _ADAPTIVE:
        return ""
    searched = params.tune.space.get("lr0")
    if params.lr0 > SAFE_LR0:
        return f"lr0 is {params.lr0:g}: above {SAFE_LR0:g} it destroys the weights of {params.model}; {_advice()}"
    lowest = min(searched.probes(whole=False)) if searched is not None else 0.0
    if lowest > SAFE_LR0:
        return (
            f"tune.space.lr0 begins at {lowest:g}: above {SAFE_LR0:g} a training destroys the weights of "
            f"{params.model}, so the search would find nothing; {_advice()}"
        )
    return ""


def watch(arguments: Mapping[str, Any], as_is: AsIs) -> Listener:
    """Return a listener that warns on standard error if the first epoch destroys the pretrained weights.

    Args:
        arguments: The training arguments.
        as_is: The model without training.
    """

    def listen(epoch: Epoch) -> None:
        reached = epoch.metrics["mAP50"]
        if epoch.number == 1 and reached < LOST * as_is.validated:
            print(
                f"warning: the pretrained weights are being destroyed: mAP50 is {reached:.3f} after the first epoch, "
                f"and was {as_is.validated:.3f} before it, with lr0 {arguments['lr0']:g} and nbs {arguments['nbs']}; "
                f"{_advice()}",
                file=sys.stderr,
                flush=True,
            )

    return listen


def _advice() -> str:
    try:
        values = values_of(PRESET)
        lr0, nbs = float(values["lr0"]), values["nbs"]
    except (BadParams, LookupError, TypeError, ValueError):  # presets that the user changed must not end a training
        return "see `python -m stages preset`"
    return f"the preset {PRESET} has lr0 {lr0:g} and nbs {nbs} (`python -m stages preset {PRESET}`)"
