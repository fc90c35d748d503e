"""References of experiments: what a killed git leaves of them."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from stages.experiments import refs


def test_a_lock_without_an_owner_is_removed_and_a_lock_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(refs, "main_root", lambda: tmp_path)
    monkeypatch.setattr(refs, "STALE", 0.5)
    refs.remove_stale_locks()
    folder = tmp_path / ".git" / "refs" / "exps" / "ab" / "cdef"
    folder.mkdir(parents=True)
    for name in ("confirm-34a6d8-s1", "confirm-34a6d8-s1.lock", "in-use.lock"):
        (folder / name).write_text("", encoding="utf-8")
    timer = threading.Timer(0.2, os.utime, [folder / "in-use.lock", (1, 1)])
    timer.start()
    refs.remove_stale_locks()
    assert sorted(path.name for path in folder.iterdir()) == ["confirm-34a6d8-s1", "in-use.lock"]
