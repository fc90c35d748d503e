"""Stage tune: what was found, how sure that is, and what to put into staging.

    python -m stages.tune

Reads reports/study and the metrics of train and evaluate; writes reports/decision.md, reports/figures and
reports/confirmation.csv. Only where a command asks for it (`dvc exp run tune` does) are the baseline and the best
trained again with other seeds, the whole report written and a model registered; else a short report is written.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from stages import evidence, failures, pending, request
from stages.experiments import is_study
from stages.failures import Failure
from stages.params import PARAMS, read
from stages.repository import REPORTS, ROOT, commit, git, write_atomic
from stages.space import same

DECISION, FIGURES, CONFIRMATION = REPORTS / "decision.md", REPORTS / "figures", REPORTS / "confirmation.csv"
NEXT = "`dvc exp run tune` runs a study"


def short_report(
    study: dict[str, Any],
    now: dict[str, Any],
    data: str,
    test: dict[str, float],
    before: dict[str, float] | None,
    damaged: str = "",
    as_is: float | None = None,
) -> str:
    """What this is, its numbers, and how to go on, in Markdown.

    Args:
        study: The content of study.json; empty where there was no study.
        now: params.yaml as it is.
        data: The digest of the data.
        test: Metrics of the model on the test split, 0 to 1.
        before: The same of the commit that the run started from, if it has them.
        damaged: Why the study cannot be told of, if it cannot.
        as_is: mAP50 on the test split of the pretrained model without training, if there is one.
    """
    beside = "its numbers beside those of the last commit" if before is not None else "its numbers alone"
    lines = ["# Decision", "", f"Nothing is decided here: one run, one seed, {beside}.", ""]
    measured = f"On the test split the model of params.yaml has mAP50 {test['mAP50']:.3f}"
    if before is not None:
        measured += f" (at the last commit {before['mAP50']:.3f}, {test['mAP50'] - before['mAP50']:+.3f})"
    if as_is is not None:
        measured += f"; {now['model']} as it is, without training, has {as_is:.3f} ({test['mAP50'] - as_is:+.3f})"
    if not study or study["best"] is None:
        why = damaged or ("No trial of the study is complete" if study else "No study was made of it")
        return "\n".join([*lines, f"{measured}, n = 1.", "", f"{why}: {NEXT}, `make compare` shows what there is.", ""])
    best, start = study["best"], study["start"]
    finished = study["trials"].get("complete", 0) + study["trials"].get("pruned", 0)
    found = f"Study {study['name']} has {finished} finished trials. Its best, trial {best['number']} ({best['name']}), "
    found += f"has mAP50 {best['mAP50']:.3f} on the validation split"
    if start["mAP50"] is not None:
        found += f"; what it started from has {start['mAP50']:.3f} ({best['mAP50'] - start['mAP50']:+.3f})"
    lines += [f"{found}.", "", "| key | at the start | best |", "|---|---|---|"]
    lines += [f"| {key} | {start['params'].get(key)} | {value} |" for key, value in best["params"].items()]
    if why := differs(study, now, data):
        measured += f". {why}"
    elif same({key: now.get(key) for key in best["params"]}) != same(best["params"]):
        measured += ". These are not the parameters that the study found best"
    return "\n".join([*lines, "", f"{measured}.", "", "`python -m stages.tune` writes the whole report.", ""])


def differs(study: dict[str, Any], now: dict[str, Any], data: str) -> str:
    """Why the study says nothing of the present parameters and data; nothing where it does."""
    fixed = {key: now.get(key) for key in study["fixed"]}
    if data != study["data"] or same(fixed) != same(study["fixed"]):
        return "The study was of other data or other fixed parameters"
    return ""


def stamp(test: dict[str, float]) -> str:
    """A line that names the results which a whole report is of; how fast a model was is none."""
    tables = [REPORTS / "study" / name for name in ("study.json", "trials.csv", "compared.csv")]
    known = [path.read_bytes() if path.is_file() else b"" for path in tables]
    known.append(json.dumps({key: value for key, value in test.items() if key != "ms_per_image"}).encode())
    return f"<!-- of results {hashlib.sha256(bytes(1).join(known)).hexdigest()[:16]} -->"


def main() -> None:
    test, trained = _content(REPORTS / "evaluate/metrics.json"), _content(REPORTS / "train/metrics.json")
    summary = _content(REPORTS / "data/summary.json")
    now, asked, results = read(PARAMS), request.is_asked_for(), stamp(test)
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
        from stages.judging import judge  # takes seconds, and each `dvc repro` and each point of a grid comes by

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
    if any(is_study(name) for name in pending.everything()):
        from stages.sync import mirror_pending_studies  # takes seconds, and hardly ever has anything to do

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
