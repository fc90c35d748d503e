"""The full report of a study: confirm the study, decide, propose a model for staging, and write the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.git import commit
from stages.base.paths import DATA
from stages.decision import confirmation, staging
from stages.decision.confirmation import Confirmation, Splits
from stages.decision.evidence import Evidence
from stages.decision.repeater import confirm
from stages.decision.verdict import Decision, decide
from stages.detector.as_is import AsIs, measure, measure_best
from stages.experiments.identity import code_digests
from stages.experiments.origin import present_origin
from stages.params import file as params_file
from stages.params.schema import Params
from stages.report import machine
from stages.report.card import card_of_decision, card_of_workspace
from stages.report.text import Report, ReportInputs, render
from stages.search.repeats import open_repeater
from stages.tracking import missed, sync
from stages.tracking.outage import tolerated
from stages.tracking.store import Store, Unreachable
from stages.workers.launcher import open_launcher

NOT_REGISTERED = "MLflow cannot be used, so no model was registered; run `python -m stages.tune` later to register it."


def confirm_and_report(
    evidence: Evidence, data: Mapping[str, Any], tested: Mapping[str, float], stamp: str, reports: Path
) -> None:
    """Confirm a study, decide, register the recommended model and write the report.

    Args:
        evidence: A study with at least one complete trial, of the present data and parameters.
        data: The content of summary.json.
        tested: The metrics of the model in the workspace on the test split.
        stamp: The first line of the report, which names its results.
        reports: The folder for decision.md, the figures and confirmation.csv.

    Raises:
        Failure: There is no data, or the dvc command that started this process has ended. Finished repeats are kept.
    """
    params = params_file.load()
    missing: list[str] = []
    repeats = _confirm(params, evidence, data)
    as_is = _measure_as_is(params, evidence, repeats.splits if repeats is not None else None, missing)
    decision = decide(repeats, as_is, evidence.limits) if repeats is not None and repeats.repeats else None
    if decision is not None and decision.model is not None and decision.model.role == "as is" and as_is is not None:
        rule, metrics = params.evaluate.threshold, decision.model.metrics
        threshold = staging.operating_point(as_is.weights, as_is.imgsz, params.device, rule)
        model = replace(decision.model, threshold=threshold, metrics={**metrics, "threshold": threshold})
        decision = replace(decision, model=model)
    store = _connect(missing)
    card = card_of_decision(decision, params, data, as_is) if decision is not None else ""
    outcome = _promote(store, decision, as_is, params, data, card, missing)
    report = render(
        ReportInputs(
            evidence=evidence,
            data=data,
            source=params.data.source,
            model=params.model,
            commit=commit(),
            hardware=machine.hardware(),
            versions=machine.versions(),
            as_is=as_is,
            confirmation=repeats,
            decision=decision,
            staging=outcome,
            tested=tested,
            missing=missing,
        )
    )
    write_atomic(
        reports / "model_card.md", card or card_of_workspace(params_file.read(params_file.PARAMS), data, reports)
    )
    write_atomic(reports / "confirmation.csv", confirmation.table(repeats, as_is))
    _write(report, stamp, reports)
    _attach_report(store, evidence.study["name"])
    summary = report.text.partition("## ")[0].splitlines()[2:]
    print("\n".join(line for line in summary if line))
    print("full report: reports/decision.md")


def _confirm(params: Params, evidence: Evidence, data: Mapping[str, Any]) -> Confirmation | None:
    if not params.tune.confirm_seeds:
        return None
    origin = present_origin()
    with open_launcher(params, origin) as launcher:
        repeater = open_repeater(params, origin, launcher)
        splits = None
        if params.tune.confirm_over == "splits":
            images = {split: counts["images"] for split, counts in data["splits"].items()}
            is_drawn = params.data.source == "synthetic"  # another seed draws other pictures
            splits = Splits(repeater.folders, 0.0 if is_drawn else images["test"] / images["train"])
        return confirm(evidence, repeater, splits)


def _measure_as_is(params: Params, evidence: Evidence, splits: Splits | None, missing: list[str]) -> AsIs | None:
    """Measure the pretrained model that the baseline and the best start from, without training, on each split."""
    best = evidence.best
    points = [evidence.start, *([best.point] if best is not None else [])]
    try:
        code = code_digests("evaluate")
        as_is = measure_best([{**params.training(), **point} for point in points], DATA, code)
        if as_is is None or splits is None:
            return as_is
        arguments = {**params.training(), "model": as_is.model, "head": as_is.head, "imgsz": as_is.imgsz}
        by_seed = {seed: measure(arguments, folder, code) for seed, folder in splits.folders.items()}
        return replace(as_is, by_seed={seed: result.tested for seed, result in by_seed.items() if result is not None})
    except Exception as error:  # missing data or weights, too little memory: the finished repeats must not be lost
        missing.append(
            "the report compares no setting with the pretrained model, because the model without training could not "
            f"be measured ({type(error).__name__}: {error})"
        )
        print(f"warning: {missing[-1]}", file=sys.stderr)
        return None


def _connect(missing: list[str]) -> Store | None:
    """Return MLflow after writing the runs that it lacks; None if it cannot be used."""
    store = None
    with tolerated("{}; the report is written without it") as outage:
        store = Store()
        for line in sync.catch_up(store):
            print(line)
    if outage.error is None:
        return store
    missing.append(outage.message)
    return None


def _promote(
    store: Store | None,
    decision: Decision | None,
    as_is: AsIs | None,
    params: Params,
    data: Mapping[str, Any],
    card: str,
    missing: list[str],
) -> str:
    """Propose the recommended model for staging; return the outcome as sentences."""
    if decision is not None and decision.recommended is None and decision.broken:
        return f"no confirmed setting keeps tune.limits ({decision.broken}), so no model is proposed."
    if decision is None or decision.recommended is None:
        return "no setting was confirmed, so no model is proposed."
    if store is None:
        return NOT_REGISTERED
    imgsz = int({**params.written(), **decision.recommended.setting.point}["imgsz"])
    candidate = staging.Candidate(
        decision,
        commit(),
        data["digest"],
        imgsz,
        params.device,
        as_is,
        params.evaluate.threshold,
        params.export.formats,
        card,
    )
    outcome = NOT_REGISTERED
    with tolerated("the model could not be registered: {}") as outage:
        outcome = staging.promote(store, candidate)
    if outage.error is not None:
        missing.append(f"the model could not be registered: {outage.message}")
        if not isinstance(outage.error, Unreachable):
            outcome = f"{missing[-1]}."
    return outcome


def _write(report: Report, stamp: str, reports: Path) -> None:
    """Write the report and its figures, and delete the figures of an earlier report. The text comes last."""
    folder = reports / "figures"
    for name, content in report.figures.items():
        write_atomic(folder / name, content)
    for path in folder.glob("*.png"):
        if path.name not in report.figures:
            path.unlink()
    write_atomic(reports / "decision.md", f"{stamp}\n{report.text}")


def _attach_report(store: Store | None, study: str) -> None:
    """Attach the report to the study's run in MLflow. If that fails, `make sync` does it later."""
    if store is None:
        missed.note(study, warned=True)
        return
    with tolerated("the report is not in MLflow: {}; run `make sync` later", [study]):
        store.attach(store.parent(study), sync.report_files())
