"""Stage tune: what the study found, in a few lines, and whether the test split agrees.

    python -m stages.tune

Reads reports/study and the metrics of train and evaluate; writes reports/decision.md, and mirrors the study in MLflow
where that was missed.
"""

from __future__ import annotations

import json
from typing import Any

from stages import failures, pending
from stages.experiments import is_study
from stages.params import PARAMS, read
from stages.repository import REPORTS, commit, git, write_atomic
from stages.space import same

NEXT = "`dvc exp run tune` runs a study"


def verdict(
    study: dict[str, Any], now: dict[str, Any], data: str, test: dict[str, float], before: dict[str, float] | None
) -> str:
    """The verdict in Markdown.

    Args:
        study: The content of study.json; empty where there was no study.
        now: params.yaml as it is.
        data: The digest of the data.
        test: Metrics of the model on the test split, 0 to 1.
        before: The same of the commit that the run started from, if it has them.
    """
    lines = ["# Decision", ""]
    measured = f"On the test split the model of params.yaml has mAP50 {test['mAP50']:.3f}"
    if before is not None:
        measured += f" (at the last commit {before['mAP50']:.3f}, {test['mAP50'] - before['mAP50']:+.3f})"
    if not study or study["best"] is None:
        why = "No trial of the study is complete" if study else "No study was made of it"
        return "\n".join([*lines, f"{measured}.", "", f"{why}: {NEXT}.", ""])
    best, start = study["best"], study["start"]
    finished = study["trials"].get("complete", 0) + study["trials"].get("pruned", 0)
    found = f"Study {study['name']} has {finished} finished trials. Its best, trial {best['number']} ({best['name']}), "
    found += f"has mAP50 {best['mAP50']:.3f} on the validation split"
    if start["mAP50"] is not None:
        found += f"; what it started from has {start['mAP50']:.3f} ({best['mAP50'] - start['mAP50']:+.3f})"
    lines += [f"{found}.", "", "| key | at the start | best |", "|---|---|---|"]
    lines += [f"| {key} | {start['params'].get(key)} | {value} |" for key, value in best["params"].items()]
    searched, fixed = ({key: now.get(key) for key in study_keys} for study_keys in (best["params"], study["fixed"]))
    if data != study["data"] or same(fixed) != same(study["fixed"]):
        measured += ". The study was of other data or other fixed parameters"
    elif same(searched) != same(best["params"]):
        measured += ". These are not the parameters that the study found best"
    return "\n".join([*lines, "", f"{measured}.", ""])


def main() -> None:
    study = json.loads((REPORTS / "study" / "study.json").read_text(encoding="utf-8"))
    test = json.loads((REPORTS / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    before = git("show", f"{commit()}:./reports/evaluate/metrics.json") if commit() else ""
    data = json.loads((REPORTS / "data" / "summary.json").read_text(encoding="utf-8"))["digest"]
    text = verdict(study, read(PARAMS), data, test, json.loads(before) if before else None)
    write_atomic(REPORTS / "decision.md", text)
    print("\n".join(line for line in text.splitlines()[2:] if line and not line.startswith("|")))
    if any(is_study(name) for name in pending.everything()):
        from stages.sync import mirror_pending_studies  # takes seconds, and hardly ever has anything to do

        mirror_pending_studies()
    if study:
        print("compare: `dvc exp show`; keep: `git add -A`, `git commit`; go on: `dvc exp run tune -S tune.trials=...`")


if __name__ == "__main__":
    failures.run(main)
