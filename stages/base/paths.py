"""Where things are: this checkout, the main repository behind a queued experiment, and what names the run."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout whose code is running: the main repository, or the folder that DVC made for a queued experiment."""

DATA = ROOT / "data" / "prepared"
MODEL = ROOT / "models" / "best.pt"
REPORTS = ROOT / "reports"


def main_root(root: Path = ROOT) -> Path:
    """The main repository: DVC runs queued experiments in `<main>/.dvc/tmp/exps/<name>`."""
    for folder in root.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return root


def locate(path: str | Path) -> Path:
    """A user's path: as it is when absolute, else from the main repository, where untracked files are."""
    return main_root() / os.path.expanduser(path)  # noqa: PTH111 - pathlib's raises for an unknown user


FIGURES = "reports/figures"
"""Where the figures of a decision are; a run that was not asked for one has a single file there, which says so."""

STUDIES = main_root() / ".study"
