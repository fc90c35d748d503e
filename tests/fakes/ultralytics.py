"""In the place of stages/detector/ultralytics.py: without Ultralytics, which takes seconds to import."""

from __future__ import annotations

from typing import Any


def set_threads(count: int) -> None:
    assert count > 0


def check_device(device: int | str) -> None:
    return


def check_arguments(arguments: dict[str, Any]) -> None:
    return
