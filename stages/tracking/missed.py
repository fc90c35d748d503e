"""Notes of the runs that MLflow has missed: one file per run or study that is not yet complete in MLflow.

With its note, a stage does not repeat the warning of the stage before it, and a later run knows what to mirror.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.paths import main_root

HOME = main_root() / ".mlflow"


def pending(name: str) -> Path:
    """Return the path of the note of a run; the file exists while the run is not complete in MLflow."""
    return HOME / "pending" / f"{name}.json"


def note(name: str, **facts: Any) -> None:
    """Add facts to the note of a run."""
    write_atomic(pending(name), json.dumps({**noted(name), **facts}))


def noted(name: str) -> dict[str, Any]:
    """Return the facts in the note of a run; none if there is no note."""
    try:
        return dict(json.loads(pending(name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def all_notes() -> dict[str, dict[str, Any]]:
    """Return the facts of each run that is not complete in MLflow, by its name."""
    return {path.stem: noted(path.stem) for path in sorted(HOME.glob("pending/*.json"))}
