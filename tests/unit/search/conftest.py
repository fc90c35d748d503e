"""Give each test of this folder a storage of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.base import paths
from stages.services import storage


@pytest.fixture(autouse=True)
def private_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (storage, paths):
        monkeypatch.setattr(module, "STUDIES", tmp_path)
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
