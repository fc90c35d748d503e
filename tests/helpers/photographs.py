"""Real photographs and weights for tests, where they are beside this checkout."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.project import COCO128

WEIGHTS = COCO128.parent / "weights" / "people-yolov8s.pt"
"""Real weights that know people: their classes are Normal and Fall."""

real = pytest.mark.skipif(not COCO128.is_dir(), reason="the COCO128 images are not beside this checkout")


# COCO128 --------------------------------------------------------------------------------------------------------------


def make_zip(path: Path, change: Callable[[zipfile.ZipFile], None] | None = None) -> Path:
    """COCO128 laid out as its official archive is."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(COCO128.rglob("*")):
            archive.write(file, f"coco128/{file.relative_to(COCO128).as_posix()}")
        if change:
            change(archive)
    return path
