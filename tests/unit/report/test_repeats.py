"""The reason for a recommendation names what decided it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stages.decision.confirmation import Confirmation, Repeat, Role, Setting, Splits
from stages.decision.verdict import Decision, decide
from stages.detector.as_is import AsIs
from stages.params.schema import Limits
from stages.report.repeats import reason, settings_table

AS_IS = AsIs("yolov8n.pt", "keep", Path("w.pt"), "0" * 64, 320, ("person",), 0.5, 0.6, 9.0)


def confirmed(tested: dict[Role, list[float]], seconds: dict[Role, float], ms: float = 8.0) -> Confirmation:
    settings = [Setting(role, f"run-{role}", {"epochs": 4}, 0.7, seconds[role]) for role in tested]
    repeats = [
        Repeat(role, f"confirm-{role}-s{seed}", seed, value, value, seconds[role], ms if role == "best" else 8.0)
        for role, values in tested.items()
        for seed, value in enumerate(values, start=1)
    ]
    return Confirmation(settings, repeats, {})


def reason_of(decision: Decision) -> str:
    assert decision.recommended is not None
    return reason(decision, decision.recommended)


@pytest.mark.parametrize(
    ("tested", "seconds", "as_is", "text"),
    [
        ([0.70, 0.69], [40.0, 60.0], None, "Take the baseline setting: it costs 33 % less than the best (40 s against"),
        ([0.72, 0.70], [62.0, 60.0], None, "Take the baseline setting: it costs 3 % more than the best (62 s against"),
        ([0.70, 0.72], [60.0, 60.0], None, "Take the best setting: the baseline setting is no cheaper."),
        ([0.60, 0.70], [40.0, 60.0], None, "Take the best setting: the baseline setting is worse."),
        ([0.70, 0.60], [60.0, 40.0], None, "Take the baseline setting: it is distinguishably better than the best"),
        (
            [0.60, 0.70],
            [30.0, 60.0],
            AS_IS,
            "Take the best setting: the pretrained model without training is worse and the baseline setting is not "
            "distinguishably better than no training.",
        ),
    ],
)
def test_the_reason_says_what_decided(tested: list[float], seconds: list[float], as_is: AsIs | None, text: str) -> None:
    spread = (-0.005, 0.0, 0.004)
    luck = (0.03, -0.03, 0.01) if abs(tested[0] - tested[1]) < 0.05 else (0.0, 0.0, 0.0)
    values: dict[Role, list[float]] = {
        "baseline": [tested[0] + noise for noise in spread],
        "best": [tested[1] + noise + more for noise, more in zip(spread, luck, strict=True)],
    }
    decision = decide(confirmed(values, {"baseline": seconds[0], "best": seconds[1]}), as_is)
    assert reason_of(decision).startswith(text)


def test_a_best_that_breaks_a_limit_is_the_reason_for_another_setting() -> None:
    values: dict[Role, list[float]] = {"baseline": [0.7, 0.71, 0.69], "best": [0.7, 0.69, 0.71]}
    repeats = confirmed(values, {"baseline": 90.0, "best": 60.0}, ms=14.0)
    text = reason_of(decide(repeats, limits=Limits.of({"ms_per_image": 10})))
    assert text.startswith("Take the baseline setting: the best setting breaks a limit (ms_per_image 14 > 10).")


def test_the_pretrained_model_has_no_training_on_other_splits_either() -> None:
    repeats = confirmed({"best": [0.7, 0.71, 0.69]}, {"best": 60.0})
    splits = Splits({seed: Path(str(seed)) for seed in (1, 2, 3)}, 0.25)
    as_is = replace(AS_IS, by_seed={1: 0.6, 2: 0.61, 3: 0.59})
    row = settings_table(decide(replace(repeats, splits=splits), as_is)).splitlines()[2]
    assert "no training" in row
    assert "no run before" not in row
