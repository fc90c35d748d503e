"""The short form of benchmarks/faults: 20 kills with fixed seeds, over every command that may be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.__main__ import play
from benchmarks.faults.scenarios import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_twenty_kills_lose_nothing_change_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    results = play(list(SCENARIOS), kills=20, seed=0, jobs=1, folder=tmp_path)
    assert sum(result.victims.total() for result in results.values()) >= 20
    assert {name: (+result.faults, result.left, result.failed) for name, result in results.items()} == {
        scenario.name: ({}, 0, 0) for scenario in SCENARIOS
    }
