"""The short report of a run whose command did not ask for stage tune."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stages.base import paths
from stages.base.formatting import markdown_table, plain, words
from stages.base.paths import REPORTS, ROOT
from stages.experiments.identity import code_digests, digest_of
from stages.params.space import same

DECISION, FIGURES, CONFIRMATION = ROOT / paths.DECISION, ROOT / paths.FIGURES, ROOT / paths.CONFIRMATION
NEXT = "`dvc exp run tune` runs a study"


def short_report(
    study: dict[str, Any],
    params: dict[str, Any],
    data: str,
    test: dict[str, float],
    before: dict[str, float] | None,
    damaged: str = "",
    as_is: float | None = None,
) -> str:
    """Return the report in Markdown: the results of the run, those of the study if there is one, and the next command.

    Args:
        study: The content of study.json; empty without a study.
        params: The content of params.yaml.
        data: The digest of the data.
        test: The metrics of the model on the test split, 0 to 1.
        before: The same metrics at the commit that the run started from; None if it has none.
        damaged: The reason why the study cannot be read; else empty.
        as_is: mAP50 on the test split of the pretrained model without training; None if there is no such model.
    """
    comparison = "compared with the last commit" if before is not None else "without a comparison"
    lines = ["# Decision", "", f"Nothing is decided here: this is one run with one seed, {comparison}.", ""]
    measured = f"On the test split, the model of params.yaml has mAP50 {test['mAP50']:.3f}"
    if before is not None:
        measured += f" (at the last commit {before['mAP50']:.3f}, {test['mAP50'] - before['mAP50']:+.3f})"
    if as_is is not None:
        measured += f"; {params['model']} without training has {as_is:.3f} ({test['mAP50'] - as_is:+.3f})"
    if not study or study["best"] is None:
        reason = damaged or (_without_best(study) if study else "There is no study yet")
        return "\n".join([*lines, f"{measured}, n = 1.", "", f"{reason}: {NEXT}; `make compare` lists the runs.", ""])
    best, start = study["best"], study["start"]
    finished = study["trials"].get("complete", 0) + study["trials"].get("pruned", 0)
    sentence = f"Study {study['name']} has {finished} finished trials. Its best, trial {best['number']} "
    sentence += f"({best['name']}), has mAP50 {best['mAP50']:.3f} on the validation split"
    if start["mAP50"] is not None:
        sentence += f"; its baseline has {start['mAP50']:.3f} ({best['mAP50'] - start['mAP50']:+.3f})"
    rows = [[key, plain(start["params"].get(key)), plain(value)] for key, value in best["params"].items()]
    lines += [f"{sentence}.", "", *markdown_table(("parameter", "baseline", "best"), rows)]
    if reason := differs(study, params, data):
        measured += f". {reason}"
    elif same({key: params.get(key) for key in best["params"]}) != same(best["params"]):
        measured += ". These parameters are not the best ones of the study"
    return "\n".join([*lines, "", f"{measured}.", "", "`python -m stages.tune` writes the full report.", ""])


def _without_best(study: dict[str, Any]) -> str:
    limits = study.get("limits", {})
    if not limits or not study["trials"].get("complete", 0):
        return "No trial of the study is complete"
    return f"No trial of the study keeps tune.limits ({words(limits)})"


def differs(study: dict[str, Any], params: dict[str, Any], data: str) -> str:
    """Return why a study does not apply to the present parameters, data and code; empty if it applies."""
    fixed = {key: params.get(key) for key in study["fixed"]}
    if data != study["data"] or same(fixed) != same(study["fixed"]):
        return "The study used other data or other fixed parameters"
    if study["code"] != digest_of(code_digests()):
        return "The study was trained by other code"
    return ""


def stamp(test: dict[str, float]) -> str:
    """Return a comment that identifies the results of a full report. The milliseconds are left out: they vary."""
    tables = [REPORTS / "study" / name for name in ("study.json", "trials.csv", "compared.csv")]
    results = [path.read_bytes() if path.is_file() else b"" for path in tables]
    results.append(json.dumps({key: value for key, value in test.items() if key != "ms_per_image"}).encode())
    return f"<!-- of results {hashlib.sha256(bytes(1).join(results)).hexdigest()[:16]} -->"
