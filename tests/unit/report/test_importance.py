"""The effect of a parameter: its groups, and the limits of chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.decision.evidence import Row
from stages.experiments.noise import Noise
from stages.report.importance import effects_of


def row(value: float, **point: Any) -> Row:
    return Row("run", 1, "sampler", "complete", value, 1.0, 1, point)


def test_groups_are_values_where_they_are_few_and_ranges_where_they_are_many() -> None:
    rows = [row(0.5, optimizer="SGD"), row(0.7, optimizer="AdamW"), row(0.9, optimizer="AdamW")]
    (few,) = effects_of(rows, ["optimizer"], {}, None)
    assert [(group.label, round(group.mean, 6), group.n) for group in few.groups] == [
        ("AdamW", 0.8, 2),
        ("SGD", 0.5, 1),
    ]
    many_rows = [row(number / 10, lr0=number / 1000) for number in range(9)]
    (many,) = effects_of(many_rows, ["lr0"], {}, None)
    assert [group.n for group in many.groups] == [3, 3, 3]
    assert many.groups[0].label == "0 to 0.002"


def test_a_parameter_without_an_effect_is_no_more_than_chance_in_nineteen_of_twenty_studies() -> None:
    random = np.random.default_rng(0)
    called = 0
    for _ in range(100):
        rows = [row(float(random.normal(0.7, 0.05)), epochs=int(random.integers(2, 6))) for _ in range(20)]
        (effect,) = effects_of(rows, ["epochs"], {}, Noise(0.05, 6))
        assert effect.chance_limit is not None
        assert effect.seed_limit is not None
        assert 0.5 < effect.seed_limit / effect.chance_limit < 4  # in these studies, only the seeds differ
        called += effect.difference > effect.chance_limit
    assert called <= 12
