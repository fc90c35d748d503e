"""Paths of this checkout and of the main repository."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout of the running code: the main repository, or the folder that DVC makes for a queued experiment."""

# The results of the pipeline, spelt as in dvc.yaml and dvc.lock: relative to the repository, separated by `/`.
PREPARED_DATA = "data/prepared"
DATA_REPORT = "reports/data"
DATA_SUMMARY = "reports/data/summary.json"
STUDY_READY = "reports/study/ready"
STUDY_SUMMARY = "reports/study/study.json"
BEST_MODEL = "models/best.pt"
ONNX_MODEL = "models/best.onnx"
EXPORTED = "models/exported"
"""The other formats, and a page that says how to run best.onnx."""
TRAIN_METRICS = "reports/train/metrics.json"
TRAIN_CURVES = "reports/train/plots/metrics"
TEST_METRICS = "reports/evaluate/metrics.json"
TEST_MATCHES = "reports/evaluate/matches.csv"
EXPORT_METRICS = "reports/export/metrics.json"
DECISION = "reports/decision.md"
MODEL_CARD = "reports/model_card.md"
CONFIRMATION = "reports/confirmation.csv"
FIGURES = "reports/figures"
"""The figures of a decision. A run without a decision has one file in this folder, which says so."""

NOT_EXPORTED = "This is no model: `dvc repro` writes one here if export.formats in params.yaml asks for it.\n"
"""The text in the place of an exported model: DVC cannot apply an experiment that lacks an out."""

DATA = ROOT / PREPARED_DATA
MODEL = ROOT / BEST_MODEL
REPORTS = ROOT / "reports"


def main_root(root: Path = ROOT) -> Path:
    """Return the main repository of a checkout. DVC runs queued experiments in `<main>/.dvc/tmp/exps/<name>`."""
    for folder in root.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return root


def locate(path: str | Path) -> Path:
    """Return the absolute path for a user's path. A relative one starts at the main repository."""
    return main_root() / os.path.expanduser(path)  # noqa: PTH111 - pathlib's raises for an unknown user


STUDIES = main_root() / ".study"
"""The folder of the studies' default storage, and of their locks."""
