"""Where things are: this checkout, the main repository behind a queued experiment, and what names the run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
