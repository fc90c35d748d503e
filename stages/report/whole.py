"""The judgement on a study: what matters trained again, the report written, a model offered to staging."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import commit
from stages.base.paths import DATA, ROOT
from stages.decision import confirmation, staging
from stages.decision.confirmation import Confirmation, Repeater
from stages.decision.evidence import Evidence
from stages.decision.verdict import Decision, decide
from stages.detector.as_is import AsIs, measure_best
from stages.experiments.identity import code_digests
from stages.experiments.workshop import Origin
from stages.params import file as params_file
from stages.params.schema import Params
from stages.report import machine
from stages.report.text import Subject, report
from stages.tracking import missed, sync
from stages.tracking.store import Store, Unreachable, unusable
from stages.workers.process import places

AWAY = "MLflow could not be used, so nothing was registered; `python -m stages.tune` does it later."


def judge(
    evidence: Evidence, data: Mapping[str, Any], tested: Mapping[str, float], first_line: str, reports: Path
) -> None:
    """Confirm, decide, register and report.

    Args:
        evidence: A study with at least one complete trial, of the present data and parameters.
        data: The content of summary.json.
        tested: Metrics of the model in the workspace on the test split.
        first_line: What the report begins with.
        reports: A folder for decision.md, figures and confirmation.csv.

    Raises:
        Failure: There is no data, or the DVC that started this is gone. What was trained by then is kept.
    """
    given = params_file.load()
    missing: list[str] = []
    done = _confirm(given, evidence)
    as_is = _as_is(given, evidence, missing)
    decision = decide(done, as_is) if done is not None and done.repeats else None
    target = _connect(missing)
    words = _offer(target, decision, as_is, given, data, missing)
    found = report(
        Subject(
            evidence=evidence,
            data=data,
            source=given.data.source,
            model=given.model,
            commit=commit(),
            hardware=machine.hardware(),
            versions=machine.versions(),
            as_is=as_is,
            done=done,
            decision=decision,
            staging=words,
            tested=tested,
            missing=missing,
        )
    )
    folder = reports / "figures"
    for name, content in found.figures.items():
        write_atomic(folder / name, content)
    for path in folder.glob("*.png"):
        if path.name not in found.figures:
            path.unlink()
    write_atomic(reports / "confirmation.csv", confirmation.table(done, as_is))
    write_atomic(reports / "decision.md", f"{first_line}\n{found.text}")
    _mirror(target, evidence.study["name"])
    summary = found.text.partition("## ")[0].splitlines()[2:]
    print("\n".join(line for line in summary if line))
    print("read: reports/decision.md")


def _confirm(given: Params, evidence: Evidence) -> Confirmation | None:
    if not given.tune.confirm_seeds:
        return None
    if not (DATA / "summary.json").is_file():
        raise Failure("data/prepared is not there: run `dvc repro prepare`")
    origin = Origin(
        commit(), params_file.PARAMS.read_text(encoding="utf-8"), (ROOT / "dvc.lock").read_text(encoding="utf-8")
    )
    return Repeater(given, origin, places(given.tune.workers, given.device)).confirm(evidence)


def _as_is(given: Params, evidence: Evidence, missing: list[str]) -> AsIs | None:
    """Measure the pretrained model as it is, as the baseline and the best start from it."""
    best = evidence.best
    points = [evidence.start, *([best.point] if best is not None else [])]
    try:
        return measure_best([{**given.training(), **point} for point in points], DATA, code_digests("evaluate"))
    except Exception as error:  # missing data or weights, no memory: what was trained and decided must not be lost
        missing.append(
            f"the model as it is, without training, could not be measured ({type(error).__name__}: {error}), so "
            "nothing is compared with it"
        )
        print(f"warning: {missing[-1]}", file=sys.stderr)
        return None


def _connect(missing: list[str]) -> Store | None:
    """MLflow, with every run mirrored that it had missed; None where it is away."""
    try:
        target = Store()
        for line in sync.catch_up(target):
            print(line)
    except Exception as error:  # whatever a store, a driver or a proxy may raise: the report matters more
        missing.append(unusable(error))
        print(f"warning: {missing[-1]}; the report is made without it", file=sys.stderr)
        return None
    return target


def _offer(
    target: Store | None,
    decision: Decision | None,
    as_is: AsIs | None,
    given: Params,
    data: Mapping[str, Any],
    missing: list[str],
) -> str:
    """Offer the model to staging; returns what became of it."""
    if decision is None or decision.recommended is None:
        return "nothing was confirmed, so nothing is offered."
    if target is None:
        return AWAY
    imgsz = int({**given.written(), **decision.recommended.setting.point}["imgsz"])
    offer = staging.Offer(decision, commit(), data["digest"], imgsz, given.device, as_is)
    try:
        return staging.put(target, offer)
    except Exception as error:  # as above: what was trained and decided must not be lost
        missing.append(f"the model could not be registered: {unusable(error)}")
        print(f"warning: {missing[-1]}", file=sys.stderr)
        return AWAY if isinstance(error, Unreachable) else f"{missing[-1]}."


def _mirror(target: Store | None, study: str) -> None:
    """The report among the artifacts of the study's run; `make sync` does it where MLflow was away."""
    if target is None:
        missed.note(study, warned=True)
        return
    try:
        target.attach(target.parent(study), sync.report_files())
    except Exception as error:  # as above
        missed.note(study, warned=True)
        print(f"warning: MLflow has not the report: {unusable(error)}; see `make sync`", file=sys.stderr)
