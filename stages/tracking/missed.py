"""Notes of what MLflow has missed: a file a run, while the mirror of that run is not whole.

It keeps the warning of one stage from being repeated by the next, and tells a later run what to catch up on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.base.files import write_atomic
from stages.base.paths import main_root

HOME = main_root() / ".mlflow"


def pending(name: str) -> Path:
    """The file that stands while the mirror of this run is not whole."""
    return HOME / "pending" / f"{name}.json"


def note(name: str, **facts: Any) -> None:
    """Add facts to the file of a pending run."""
    write_atomic(pending(name), json.dumps({**noted(name), **facts}))


def noted(name: str) -> dict[str, Any]:
    """What is known of a pending run; nothing where it is not pending."""
    try:
        return dict(json.loads(pending(name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def everything() -> dict[str, dict[str, Any]]:
    """The runs whose mirror is not whole, and what is known of them."""
    return {path.stem: noted(path.stem) for path in sorted(HOME.glob("pending/*.json"))}
