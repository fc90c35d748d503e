"""Run git, and name the run: its experiment and its commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from stages.base.failures import Failure
from stages.base.paths import ROOT


def experiment_name() -> str | None:
    """Return the name of the DVC experiment that this process belongs to, or None outside an experiment."""
    return os.environ.get("DVC_EXP_NAME") or None


def commit(root: Path = ROOT) -> str:
    """Return the full hash of the commit that the run started from, or an empty text before the first commit."""
    baseline = os.environ.get("DVC_EXP_BASELINE_REV")
    return baseline or git("rev-parse", "--verify", "--quiet", "HEAD", root=root)


def run_name() -> str:
    """Return the name of this run in DVC and MLflow: the name of the experiment, or `baseline-<short commit>`."""
    return experiment_name() or baseline_name(commit())


def baseline_name(commit: str) -> str:
    """Return the name of the run of a commit; `commit` is empty before the first one."""
    return f"baseline-{commit[:7] or 'uncommitted'}"


def git(*arguments: str, root: Path = ROOT) -> str:
    """Run git; return its stripped output. If git fails (no commit yet, no such reference), return an empty text.

    Raises:
        Failure: Git refuses to work, because the repository belongs to another user of this machine.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
    )
    if "safe.directory" in done.stderr:  # the name of git's setting, in every language of its messages
        raise Failure(
            f"{root} belongs to another user, and git reads no such repository: work in a clone of your own, or run "
            f"`git config --global --add safe.directory {root.as_posix()}`"
        )
    return done.stdout.strip() if done.returncode == 0 else ""
