"""Stage tune: what was found, how sure that is, and what to put into staging.

    python -m stages.tune

Reads reports/study and the metrics of train and evaluate; writes reports/decision.md, reports/figures and
reports/confirmation.csv. Only where a command asks for it (`dvc exp run tune` does) are the baseline and the best
trained again with other seeds, the whole report written and a model registered; else a short report is written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import commit, git
from stages.base.paths import REPORTS, ROOT
from stages.decision import evidence
from stages.experiments import command
from stages.experiments.names import is_study
from stages.params.file import PARAMS, read
from stages.report.short import CONFIRMATION, DECISION, FIGURES, differs, short_report, stamp
from stages.tracking import missed


def main() -> None:
    test, trained = _content(REPORTS / "evaluate/metrics.json"), _content(REPORTS / "train/metrics.json")
    summary = _content(REPORTS / "data/summary.json")
    now, asked, results = read(PARAMS), command.is_asked_for(), stamp(test)
    damaged, found = "", None
    try:
        found = evidence.read(REPORTS / "study")
    except evidence.Damaged as failure:
        if asked:  # the report that is there is better than none
            raise Failure(f"{failure}: `git checkout reports/study`, or `dvc exp run tune` makes it anew") from failure
        damaged = str(failure)
        print(f"warning: {damaged}", file=sys.stderr)
    study = found.study if found is not None else {}
    if asked and found is not None and found.best is not None and not differs(study, now, summary["digest"]):
        from stages.report.whole import judge  # takes seconds, and each `dvc repro` and each point of a grid comes by

        _placeholders(keep=True)
        judge(found, summary, test, results, REPORTS)
    elif not asked and DECISION.is_file() and DECISION.read_text(encoding="utf-8").startswith(results):
        print("reports/decision.md is of these results and stays as it is")
        _placeholders(keep=True)
    else:
        before = _committed("evaluate/metrics.json")
        if _committed("data/summary.json").get("digest") != summary["digest"]:
            before = {}  # numbers of other data are no comparison
        as_is = trained.get("as_is_test_mAP50")
        text = short_report(study, now, summary["digest"], test, before or None, damaged, as_is)
        _placeholders(keep=False)
        write_atomic(DECISION, text)
        print("\n".join(line for line in text.splitlines()[2:] if line and not line.startswith("|")))
    if any(is_study(name) for name in missed.everything()):
        from stages.tracking.sync import mirror_pending_studies  # takes seconds, and hardly ever has anything to do

        mirror_pending_studies()
    if study:
        print("compare: `make compare`; keep: `git add -A`, `git commit`; go on: `dvc exp run tune -S tune.trials=...`")


def _committed(path: str) -> dict[str, Any]:
    """Return the content of a report as it is in the commit that the run started from; empty where it is not there."""
    text = git("show", f"{commit()}:./reports/{path}") if commit() else ""
    return dict(json.loads(text)) if text else {}


def _content(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise Failure(f"{path.relative_to(ROOT).as_posix()} cannot be read: run `dvc repro`") from error


def _placeholders(keep: bool) -> None:
    """DVC wants to see every out of a stage; what belongs to another report goes."""
    about = FIGURES / "about.txt"
    if not about.is_file():
        write_atomic(about, "What stands here was drawn for reports/decision.md.\n")
    if not CONFIRMATION.is_file() or not keep:
        write_atomic(CONFIRMATION, f"{','.join(evidence.CONFIRMED)}\n")
    for figure in FIGURES.glob("*.png") if not keep else ():
        figure.unlink()


if __name__ == "__main__":
    failures.run(main)
