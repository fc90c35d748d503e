"""Stage tune: confirm the study, decide, and propose a model for staging.

    python -m stages.tune

It reads reports/study and the metrics of train and evaluate. It writes reports/decision.md, reports/figures,
reports/confirmation.csv and reports/model_card.md. If the command asks for this stage, as `dvc exp run tune` does, the
stage trains the baseline and the best again with other seeds, writes the full report and registers a model. Else it
writes a short report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import commit, git
from stages.base.paths import MODEL_CARD, REPORTS, ROOT
from stages.decision import evidence
from stages.decision.evidence import Evidence
from stages.experiments import command
from stages.experiments.names import is_study
from stages.params.file import PARAMS, read
from stages.report.short import CONFIRMATION, DECISION, FIGURES, differs, short_report, stamp
from stages.tracking import missed

CARD = ROOT / MODEL_CARD


def main() -> None:
    test, summary = _content(REPORTS / "evaluate/metrics.json"), _content(REPORTS / "data/summary.json")
    as_is = _content(REPORTS / "train/metrics.json").get("as_is_test_mAP50")
    params, is_asked_for, results = read(PARAMS), command.is_asked_for(), stamp(test)
    tables, damaged = _tables(is_asked_for)
    study = tables.study if tables is not None else {}
    applies = tables is not None and tables.best is not None and not differs(study, params, summary["digest"])
    if is_asked_for and applies and tables is not None:
        from stages.report.full import confirm_and_report  # takes seconds, and most runs write the short report

        _write_placeholders(keep=True)
        confirm_and_report(tables, summary, test, results, REPORTS)
    elif not is_asked_for and DECISION.is_file() and DECISION.read_text(encoding="utf-8").startswith(results):
        print("reports/decision.md is up to date")
        _write_placeholders(keep=True)
        if not CARD.is_file():
            _write_card(params, summary)
    else:
        before = _committed("evaluate/metrics.json")
        if _committed("data/summary.json").get("digest") != summary["digest"]:
            before = {}  # numbers of other data are no comparison
        text = short_report(study, params, summary["digest"], test, before or None, damaged, as_is)
        _write_placeholders(keep=False)
        _write_card(params, summary)
        write_atomic(DECISION, text)
        print("\n".join(line for line in text.splitlines()[2:] if line and not line.startswith("|")))
    if any(is_study(name) for name in missed.all_notes()):
        from stages.tracking.sync import mirror_pending_studies  # takes seconds, and is rarely needed

        mirror_pending_studies()
    if study:
        print(
            "to compare the runs: `make compare`; to keep this result: `git add -A`, `git commit`; "
            "to add trials: `dvc exp run tune -S tune.trials=...`"
        )


def _write_card(params: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    from stages.report.card import card_of_workspace  # takes a second, and is not needed if the report is up to date

    write_atomic(CARD, card_of_workspace(params, summary, REPORTS))


def _tables(is_asked_for: bool) -> tuple[Evidence | None, str]:
    """Return the tables of the study, and the reason if they cannot be read.

    Raises:
        Failure: They cannot be read, and the command asks for the full report. An existing report is kept.
    """
    try:
        return evidence.read(REPORTS / "study"), ""
    except evidence.Damaged as failure:
        if is_asked_for:
            raise Failure(
                f"{failure}: restore it with `git checkout reports/study`, or make it anew with `dvc exp run tune`"
            ) from failure
        print(f"warning: {failure}", file=sys.stderr)
        return None, str(failure)


def _committed(path: str) -> dict[str, Any]:
    """Return the content of a report as it is in the commit that the run started from; empty if it is not there."""
    text = git("show", f"{commit()}:./reports/{path}") if commit() else ""
    return dict(json.loads(text)) if text else {}


def _content(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise Failure(f"{path.relative_to(ROOT).as_posix()} cannot be read: run `dvc repro`") from error


def _write_placeholders(keep: bool) -> None:
    """Write the outs that DVC expects of this stage. Unless `keep`, delete the results of an earlier report."""
    about = FIGURES / "about.txt"
    if not about.is_file():
        write_atomic(about, "The figures in this folder belong to reports/decision.md.\n")
    if not CONFIRMATION.is_file() or not keep:
        write_atomic(CONFIRMATION, f"{','.join(evidence.CONFIRMED)}\n")
    for figure in FIGURES.glob("*.png") if not keep else ():
        figure.unlink()


if __name__ == "__main__":
    failures.run(main)
