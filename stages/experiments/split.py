"""Another split of the same images, as the origin of experiments: the data are prepared with another `data.seed`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.git import git
from stages.base.paths import PREPARED_DATA, main_root
from stages.experiments.lock import dependencies, edited_lock, parameters, parse_lock, prepared
from stages.experiments.origin import Origin
from stages.experiments.workshop import Workshop
from stages.params.file import with_values

# A folder here knows its main repository (see base/paths.py): relative paths of a data source start there.
FOLDERS = main_root() / ".dvc" / "tmp" / "exps"


def origin_of_split(origin: Origin, seed: int) -> Origin:
    """Return an origin with the images of another one in another split.

    The data are prepared once in a folder of their own, by stage prepare. DVC puts them into its cache, so that an
    experiment with them can be applied.

    Args:
        origin: The origin of the workspace.
        seed: `data.seed` of the split.

    Raises:
        Failure: The data cannot be prepared, or this seed does not change them.
    """
    lock = parse_lock(origin.lock)
    settings = {**parameters(lock, "prepare")["data"], "seed": seed}
    made_from = json.dumps([settings, sorted(dependencies(lock, "prepare").items())], sort_keys=True)
    folder = FOLDERS / f"split-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"
    start = replace(origin, params=with_values(origin.params, {"data.seed": seed}))
    complete = folder / "complete.lock"
    FOLDERS.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # two confirmations at once need the same split
        if not complete.is_file():
            workshop = Workshop(folder / "files", start, with_data=False)
            write_atomic(workshop.root / "params.yaml", start.params)
            write_atomic(workshop.root / "dvc.lock", edited_lock(origin.lock, {}, keep=()))
            _prepare(workshop.root, seed)
            write_atomic(complete, (workshop.root / "dvc.lock").read_text(encoding="utf-8"))
    text = complete.read_text(encoding="utf-8")
    if prepared(parse_lock(text))["md5"] == prepared(lock)["md5"]:
        raise Failure(
            "tune.confirm_over: splits needs splits that data.seed changes, and this data has its own: set data.split "
            "to numbers or fractions, or confirm_over to seeds"
        )
    return replace(start, lock=text, data=folder / "files" / git("rev-parse", "--show-prefix") / PREPARED_DATA)


def _prepare(root: Path, seed: int) -> None:
    """Run stage prepare in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    python = Path(sys.executable).parent  # dvc.yaml calls `python`
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "prepare"],
        cwd=root,
        env={**kept, "PATH": f"{python}{os.pathsep}{kept.get('PATH', '')}"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("error:")), done.stderr.strip())
        raise Failure(f"the split with data.seed {seed} cannot be prepared: {reason.removeprefix('error: ')}")
