"""A small prepared data set of drawn pictures, for real trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.data.preparation import prepare
from tests.helpers import data as group


@pytest.fixture(scope="module", name="data")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a data set of 16 pictures with 64 pixels, which tests only read."""
    out = tmp_path_factory.mktemp("data") / "prepared"
    prepare(group.data(split={"train": 8, "val": 4, "test": 4}, imgsz=64), out, workers=1)
    return out
