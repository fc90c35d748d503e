"""Whether a model takes the alias `staging`: only if it is better than the one that is there, on the same test data."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stages.base.failures import Failure
from stages.base.paths import DATA
from stages.decision.confirmation import Repeat
from stages.decision.significance import Estimate, judge
from stages.decision.verdict import Decision, in_words
from stages.detector.as_is import AsIs
from stages.experiments import refs
from stages.tracking import record, registry
from stages.tracking.record import Record
from stages.tracking.store import Store

# What Ultralytics and torch raise for weights that do not fit the data, or are none.
_Unfit = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, OSError)


@dataclass(frozen=True)
class Offer:
    """What is offered to staging.

    Attributes:
        decision: What was decided; its model is offered.
        commit: That it started from.
        data: The digest of the data.
        imgsz: Pixels of the longest side that the model is given.
        device: As in params.yaml.
        as_is: The pretrained model without training, if the trainings started from one.
    """

    decision: Decision
    commit: str
    data: str
    imgsz: int
    device: int | str | None
    as_is: AsIs | None = None


def put(target: Store, offer: Offer) -> str:
    """Register the model that was decided for, if it is better than what `staging` holds or nothing holds it.

    Returns:
        What was done and why, in sentences.

    Raises:
        Unreachable: MLflow cannot be had.
    """
    model, recommended = offer.decision.model, offer.decision.recommended
    if model is None or recommended is None:
        return "nothing was confirmed, so nothing is offered."
    content = None
    if model.role == "as is" and offer.as_is is not None:
        record = _run_of(offer.as_is, offer)
        content = record.content  # on other data there may be a run of this name
        target.write(record)
    run = target.find(model.name, content)
    scratch = DATA.parents[1] / ".dvc" / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        weights = Path(folder) / "best.pt"
        if run is None or not _weights_of(model, offer.as_is, weights):
            return f"{model.name} has no run in MLflow or no weights in DVC's cache here; nothing was registered."
        holder = registry.staged(target)
        digest = hashlib.md5(weights.read_bytes()).hexdigest()
        if holder is not None and holder.tags.get("weights") == digest:
            return f"version {holder.version} of {registry.MODEL} is this very model."
        why = "nothing held the alias"
        if holder is not None:
            origin = holder.tags.get("run") or holder.tags.get("dvc.experiment") or "of unknown origin"
            name = f"version {holder.version} ({origin})"
            there = _tested(target, holder, offer, Path(folder))
            if isinstance(there, str):
                return f"{name} stays: {there}."
            gain = _less(recommended.tested, there)
            how = f"beside its mAP50 of {there:.3f} on the same test data, what is recommended here is {in_words(gain)}"
            if judge(gain) != "better":
                return f"{name} stays: {how}."
            if model.tested <= there:
                return f"{name} stays: {how}, but the very model {model.name} has only {model.tested:.3f}."
            why = how.replace("its mAP50", f"the mAP50 of {name}")
        tags = {
            "dvc.experiment": model.name if model.role != "as is" else "",
            "run": model.name,
            "data.digest": offer.data,
            "git.commit": offer.commit,
            "test_mAP50": f"{model.tested}",
            "imgsz": f"{offer.imgsz}",
        }
        kept = {key: value for key, value in tags.items() if value}
        version = registry.register(target, run.info.run_id, weights, offer.imgsz, kept)
    return f"version {version} of {registry.MODEL} ({model.name}) has the alias `{registry.ALIAS}` now: {why}."


def _weights_of(model: Repeat, as_is: AsIs | None, to: Path) -> bool:
    """Copy the weights of the model that is offered; return whether this machine has them."""
    if model.role == "as is" and as_is is not None:
        shutil.copyfile(as_is.weights, to)
        return True
    kept = refs.experiments().get(model.name)
    return kept is not None and _fetch(kept[0], to)


def _run_of(as_is: AsIs, offer: Offer) -> Record:
    """Return the run of a pretrained model without training: nothing in DVC has recorded it."""
    params = record.flat({"model": as_is.model, "head": as_is.head, "imgsz": as_is.imgsz, "epochs": 0})
    points = {
        ("val/mAP50", 0): as_is.validated,
        ("test/mAP50", 0): as_is.tested,
        ("test/ms_per_image", 0): as_is.ms_per_image,
        ("train_seconds", 0): 0.0,
    }
    content = json.dumps([as_is.digest, params, offer.data, as_is.validated, as_is.tested])
    return Record(
        name=as_is.name,
        params=params,
        points=points,
        tags=record.tags(offer.commit, offer.data, None, "tune"),
        files={"model/best.pt": as_is.weights},
        content=hashlib.sha256(content.encode()).hexdigest(),
    )


def _fetch(revision: str, to: Path) -> bool:
    """Copy the weights of an experiment from DVC's cache; returns whether they are there."""
    with refs.kept(revision) as folder:
        file = refs.model_file(folder)
        if file is not None:
            shutil.copyfile(file, to)
        return file is not None


def _tested(target: Store, holder: registry.Staged, offer: Offer, folder: Path) -> float | str:
    """mAP50 on the test split of the model that staging holds, or why it cannot be had."""
    known = holder.tags.get("test_mAP50")
    if known and holder.tags.get("data.digest") == offer.data:
        return float(known)
    from stages.detector.evaluation import evaluate  # imports torch, and staging mostly holds a model of the same data

    imgsz = int(holder.tags.get("imgsz") or offer.imgsz)
    try:
        weights = registry.weights_of(target, holder, folder)
        return evaluate(weights, DATA, folder / "work", imgsz, offer.device).metrics["mAP50"]
    except Failure as failure:
        return str(failure)
    except _Unfit as error:
        return f"it cannot be measured on this data ({type(error).__name__})"


def _less(found: Estimate, value: float) -> Estimate:
    """An estimate as a difference to a value that is known: one model that is there, not a setting."""
    return Estimate(found.mean - value, found.low - value, found.high - value, found.sd, found.n)
