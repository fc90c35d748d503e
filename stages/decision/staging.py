"""Register the recommended model. It gets the alias `staging` only if it beats the present model on the same data."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.base.failures import Failure
from stages.base.files import md5
from stages.base.paths import DATA
from stages.decision.confirmation import Repeat
from stages.decision.significance import Estimate, difference, verdict_of
from stages.decision.verdict import Decision, describe
from stages.detector.as_is import AsIs
from stages.detector.formats import write_readme
from stages.detector.operating_point import choose
from stages.experiments import refs
from stages.params.schema import Threshold
from stages.tracking import record, registry
from stages.tracking.logged_model import MODEL, Proposal
from stages.tracking.record import DIGEST_TAG, Record
from stages.tracking.store import Store

# Ultralytics and torch raise these for a file without weights, and for weights that do not fit the data.
_Unfit = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, OSError)


@dataclass(frozen=True)
class Candidate:
    """A model that may be registered for staging.

    Attributes:
        decision: The decision that recommends the model.
        commit: The commit that the run started from.
        data: The digest of the data.
        imgsz: Pixels of the longest side of an image that the model is given.
        device: `device` of params.yaml.
        as_is: The pretrained model without training; None if the trainings did not start from one.
        rule: `evaluate.threshold` of params.yaml, for a model whose operating point was not chosen.
        formats: `export.formats` of params.yaml.
        description: Markdown for the page of the version in MLflow; empty for none.
    """

    decision: Decision
    commit: str
    data: str
    imgsz: int
    device: int | str | None
    as_is: AsIs | None = None
    rule: Threshold = "f1"
    formats: Sequence[str] = ()
    description: str = ""


def promote(store: Store, candidate: Candidate) -> str:
    """Register the recommended model if it is better than the model in staging, or if staging is empty.

    Returns:
        The outcome and its reason, as sentences.

    Raises:
        Unreachable: MLflow cannot be used.
    """
    model, recommended = candidate.decision.model, candidate.decision.recommended
    if recommended is None:
        return "no setting was confirmed, so no model is proposed."
    if model is None:  # the other repeats have other splits, so their models cannot be compared
        return (
            "the repeat with the split of the search is missing, so no model is proposed; `python -m stages.tune` "
            "tries it again."
        )
    content = None
    if model.role == "as is" and candidate.as_is is not None:
        run_record = _record_of(candidate.as_is, candidate)
        content = run_record.content  # a run of this name may exist for other data
        store.write(run_record)
    run = store.find(model.name, content)
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        weights = Path(folder) / "best.pt"
        if run is None or not _copy_weights(model, candidate.as_is, weights):
            return (
                f"{model.name} has no run in MLflow or no whole weights in DVC's cache here, so it was not registered."
            )
        staged = registry.staged(store)
        threshold = model.threshold
        if threshold is None:
            threshold = operating_point(weights, candidate.imgsz, candidate.device, candidate.rule)
        proposed = {"weights": md5(weights), "threshold": f"{threshold}"}
        if staged is not None and registry.is_model(staged, proposed):
            return f"version {staged.version} of {MODEL} is already this model."
        reason = "no version had this alias before"
        if staged is not None and staged.tags.get("weights") == proposed["weights"]:
            old = staged.tags.get("threshold", "0.25")  # versions from before operating points
            reason = f"version {staged.version} has the same weights with the threshold {old} instead of {threshold}"
        elif staged is not None:
            origin = staged.tags.get("run") or staged.tags.get("dvc.experiment") or "of unknown origin"
            name = f"version {staged.version} ({origin})"
            staged_map50 = _tested(store, staged, candidate, Path(folder))
            if isinstance(staged_map50, str):
                return f"{name} stays: {staged_map50}."
            gain = _gain(store, staged, staged_map50, candidate, Path(folder))
            comparison = (
                f"has mAP50 {staged_map50:.3f} on the same test split; compared with that, the recommended setting is "
                f"{describe(gain)}"
            )
            if verdict_of(gain) != "better":
                return f"{name} stays: it {comparison}."
            if model.tested <= staged_map50:
                return f"{name} stays: it {comparison}, but the model {model.name} itself has only {model.tested:.3f}."
            reason = f"{name} {comparison}"
        tags = {
            "dvc.experiment": model.name if model.role != "as is" else "",
            "run": model.name,
            DIGEST_TAG: candidate.data,
            "git.commit": candidate.commit,
            "test_mAP50": f"{model.tested}",
            "imgsz": f"{candidate.imgsz}",
        }
        non_empty = {key: value for key, value in tags.items() if value}
        exported, lacking = _export(weights, threshold, candidate, Path(folder), model.name)
        proposal = Proposal(
            run.info.run_id, weights, candidate.imgsz, threshold, non_empty, exported, candidate.description
        )
        version = registry.register(store, proposal)
    return f"version {version} of {MODEL} ({model.name}) now has the alias `{registry.ALIAS}`: {reason}.{lacking}"


def _export(weights: Path, threshold: float, candidate: Candidate, folder: Path, name: str) -> tuple[Path | None, str]:
    """Export the model that is registered, which may be another one than that of the workspace.

    Returns:
        The folder of the files, or None, and a sentence if the version has to do without them.
    """
    if not candidate.formats:
        return None, ""
    from stages.detector.export import export  # imports torch, and most models are not registered

    exported = folder / "exported"
    exported.mkdir()
    try:
        export(weights, DATA, candidate.formats, candidate.imgsz, threshold, exported, name)
    except (Failure, *_Unfit) as error:  # the model itself is good: it must not be lost
        return None, f" It has no exported files: {error}."
    write_readme(exported)
    return exported, ""


def _copy_weights(model: Repeat, as_is: AsIs | None, to: Path) -> bool:
    """Copy the weights of a model; return whether this machine has them."""
    if model.role == "as is" and as_is is not None:
        shutil.copyfile(as_is.weights, to)
        return True
    experiment = refs.experiments().get(model.name)
    return experiment is not None and _fetch(experiment[0], to)


def _record_of(as_is: AsIs, candidate: Candidate) -> Record:
    """Return the run of the pretrained model without training, which no DVC experiment records."""
    params = record.flat({"model": as_is.model, "head": as_is.head, "imgsz": as_is.imgsz, "epochs": 0})
    points = {
        ("val/mAP50", 0): as_is.validated,
        ("test/mAP50", 0): as_is.tested,
        ("test/ms_per_image", 0): as_is.ms_per_image,
        ("train_seconds", 0): 0.0,
    }
    content = json.dumps([as_is.digest, params, candidate.data, as_is.validated, as_is.tested])
    return Record(
        name=as_is.name,
        params=params,
        points=points,
        tags=record.tags(candidate.commit, candidate.data, None, "tune"),
        files={"model/best.pt": as_is.weights},
        content=hashlib.sha256(content.encode()).hexdigest(),
    )


def _fetch(revision: str, to: Path) -> bool:
    """Copy the weights of an experiment from DVC's cache; return whether the cache has them."""
    with refs.checkout(revision) as folder:
        file = refs.model_file(folder)
        if file is not None:
            shutil.copyfile(file, to)
        return file is not None


def operating_point(weights: Path, imgsz: int, device: int | str | None, rule: Threshold) -> float:
    """Return the operating point of a model, chosen on the validation split.

    Args:
        weights: The weights of the model.
        imgsz: Pixels of the longest side of an image that the model is given.
        device: `device` of params.yaml.
        rule: `evaluate.threshold` of params.yaml.
    """
    from stages.detector.evaluation import evaluate  # imports torch, which a model with an operating point needs not

    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        return choose(evaluate(weights, DATA, Path(folder), imgsz, device, "val").images, rule).threshold


def _scratch() -> Path:
    scratch = DATA.parents[1] / ".dvc" / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def _gain(store: Store, staged: registry.Staged, staged_map50: float, candidate: Candidate, folder: Path) -> Estimate:
    """Return mAP50 of the recommended setting minus that of the model in staging.

    If each repeat has its own split, the staged model is measured on each of them. It may have been trained on some of
    their test images, which can only make it look better.
    """
    recommended, splits = candidate.decision.recommended, candidate.decision.splits
    assert recommended is not None
    if splits is None:
        return recommended.tested - staged_map50
    from stages.detector.evaluation import evaluate

    weights, imgsz = registry.weights_of(store, staged, folder), int(staged.tags.get("imgsz") or candidate.imgsz)
    tested = {
        seed: evaluate(weights, data, folder / "work", imgsz, candidate.device).metrics["mAP50"]
        for seed, data in splits.folders.items()
    }
    gain = difference(recommended.by_seed, tested, splits.overlap)
    return gain if gain is not None else recommended.tested - staged_map50


def _tested(store: Store, staged: registry.Staged, candidate: Candidate, folder: Path) -> float | str:
    """Return mAP50 of the model in staging on the test split, or the reason why it cannot be measured."""
    recorded = staged.tags.get("test_mAP50")
    if recorded and staged.tags.get(DIGEST_TAG) == candidate.data:
        return float(recorded)
    from stages.detector.evaluation import evaluate  # imports torch, which a model measured on the same data needs not

    imgsz = int(staged.tags.get("imgsz") or candidate.imgsz)
    try:
        weights = registry.weights_of(store, staged, folder)
        return evaluate(weights, DATA, folder / "work", imgsz, candidate.device).metrics["mAP50"]
    except Failure as failure:
        return str(failure)
    except _Unfit as error:
        return f"it cannot be measured on this data ({type(error).__name__})"
