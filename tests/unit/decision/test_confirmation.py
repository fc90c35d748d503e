"""The settings that a confirmation trains again."""

from __future__ import annotations

from pathlib import Path

from stages.decision.confirmation import cheapest_setting, first_settings
from stages.experiments.noise import Noise
from tests.helpers.study_tables import read_tables, trial_rows, write_tables


def test_the_cheapest_within_the_noise_is_a_setting_if_it_saves_a_tenth(tmp_path: Path) -> None:
    write_tables(tmp_path, trial_rows(16))
    study = read_tables(tmp_path)
    best = study.best
    assert best is not None
    settings = first_settings(study)
    wide = cheapest_setting(study, settings, Noise(0.05, 4))
    assert wide is not None
    assert wide.seconds is not None
    assert best.seconds is not None
    assert wide.seconds <= 0.9 * best.seconds
    assert cheapest_setting(study, settings, Noise(0.0001, 4)) is None
    assert cheapest_setting(study, settings, None) is None
