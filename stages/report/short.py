"""The short decision report of a run that no study was asked for."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stages.base.paths import REPORTS
from stages.params.space import same

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
