"""Kills at random moments: the short form of `python -m benchmarks.faults`.

The kills of a study are in test_search_faults.py, and those of a confirmation in test_decision.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.__main__ import play
from benchmarks.faults.scenarios import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.name != "study"]  # it takes as long as all others
    results = play(scenarios, kills=20, seed=0, jobs=1, folder=tmp_path)
    counts = {name: result.describe() for name, result in results.items()}
    assert sum(result.victims.total() for result in results.values()) >= 20
    assert all("no fault, 0 left running, 0 failed" in count for count in counts.values()), counts
