"""What git knows of the run: its commit, its name, and git's own commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from stages.base.paths import ROOT


def experiment_name() -> str | None:
    """The name of the DVC experiment that this process runs for, if it runs for one."""
    return os.environ.get("DVC_EXP_NAME") or None


def commit(root: Path = ROOT) -> str:
    """The commit that the run started from, in full; empty before the first commit."""
    baseline = os.environ.get("DVC_EXP_BASELINE_REV")
    return baseline or git("rev-parse", "--verify", "--quiet", "HEAD", root=root)


def run_name() -> str:
    """The one name of this run in DVC and MLflow: the experiment's, or `baseline-<short commit>`."""
    return experiment_name() or f"baseline-{commit()[:7] or 'uncommitted'}"


def git(*arguments: str, root: Path = ROOT) -> str:
    """What git prints, stripped; empty where it fails (no commit yet, no such reference)."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
