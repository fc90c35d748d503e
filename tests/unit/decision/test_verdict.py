"""Decisions from repeats: intervals, verdicts with the error rates that they promise, and the recommended setting."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.decision.confirmation import Confirmation, Repeat, Role, Setting, Splits
from stages.decision.significance import Estimate, Interval, detectable, difference, estimate, verdict_of
from stages.decision.verdict import decide, describe
from stages.detector.as_is import AsIs
from stages.experiments.noise import Noise, noise
from stages.params.schema import Limits

SECONDS: dict[Role, float] = {"baseline": 60.0, "best": 60.0, "cheapest": 30.0}


AS_IS = AsIs("yolov8n.pt", "keep", Path("w.pt"), "0" * 64, 320, ("person",), 0.55, 0.6, 9.0)


def confirmed(tested: dict[Role, list[float]], seconds: dict[Role, float] = SECONDS) -> Confirmation:
    """A confirmation with these values of the test split, seeds from 1."""
    settings = [Setting(role, f"run-{role}", {"epochs": 4}, 0.7, seconds[role]) for role in tested]
    repeats = [
        Repeat(role, f"confirm-{role}-s{seed}", seed, value + 0.01, value, seconds[role], 8.0)
        for role, values in tested.items()
        for seed, value in enumerate(values, start=1)
    ]
    return Confirmation(settings, repeats, {})


def test_an_interval_is_that_of_students_t() -> None:
    result = estimate([0.70, 0.74, 0.72])
    assert result.mean == pytest.approx(0.72)
    assert result.seeds.high - result.mean == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert result.n == 3


def test_one_value_has_no_interval_and_no_value_is_an_error() -> None:
    assert estimate([0.7]).seeds.low == -math.inf
    assert verdict_of(estimate([0.7])) == "not distinguishable"
    assert "one seed gives no interval" in describe(estimate([0.7]))
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_pairs_are_of_the_seeds_that_both_have() -> None:
    gain = difference({1: 0.8, 2: 0.7, 3: 0.9}, {1: 0.7, 3: 0.7, 4: 0.1})
    assert gain is not None
    assert gain.n == 2
    assert gain.mean == pytest.approx(0.15)
    assert difference({1: 0.8}, {2: 0.7}) is None


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([0.05, 0.06, 0.055], "better by 0.055 (95 % interval +0.043 to +0.067, 3 seeds)"),
        ([-0.05, -0.06, -0.055], "worse by 0.055 (95 % interval -0.067 to -0.043, 3 seeds)"),
        ([0.05, -0.06, 0.02], "not distinguishable (+0.003, 95 % interval -0.138 to +0.145, 3 seeds)"),
    ],
)
def test_a_verdict_has_the_difference_and_its_interval(differences: list[float], words: str) -> None:
    assert describe(estimate(differences)) == words


@pytest.mark.parametrize("seeds", [3, 5])
def test_of_a_thousand_reports_without_a_difference_at_most_one_in_twenty_says_better(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    better = 0
    for _ in range(1000):
        luck = random.normal(0, 0.02, seeds)  # of the seed, which both settings share
        baseline, best = (list(0.75 + luck + random.normal(0, 0.015, seeds)) for _ in range(2))
        better += decide(confirmed({"baseline": baseline, "best": best})).verdict == "better"
    assert 5 <= better <= 50


def test_of_a_thousand_reports_on_a_gain_of_two_deviations_five_seeds_find_four_in_five() -> None:
    random = np.random.default_rng(0)
    better = 0
    for _ in range(1000):
        baseline = random.normal(0.7, 0.02, 5)
        best = baseline + random.normal(0.03, 0.015, 5)  # the paired difference: two of its deviations
        better += decide(confirmed({"baseline": list(baseline), "best": list(best)})).verdict == "better"
    assert better >= 800


@pytest.mark.parametrize("pairs", [3, 5])
def test_a_detectable_difference_is_found_in_four_of_five(pairs: int) -> None:
    effect = detectable(0.02, pairs)
    assert effect is not None
    random = np.random.default_rng(1)
    detected = [verdict_of(estimate(list(random.normal(effect, 0.02, pairs)))) == "better" for _ in range(4000)]
    assert np.mean(detected) == pytest.approx(0.8, abs=0.03)
    assert detectable(0.02, 1) is None
    assert detectable(math.nan, 1) is None


def test_noise_is_pooled_within_settings() -> None:
    pooled = noise([[0.70, 0.74, 0.72], [0.50, 0.50], [0.9]])
    assert pooled is not None
    assert pooled.freedom == 3
    assert pooled.sd == pytest.approx(math.sqrt((2 * 0.02**2 + 0.0) / 3))
    assert noise([[0.7], [0.8]]) is None
    assert Noise(0.01, 4).margin() == pytest.approx(2.131847 * math.sqrt(2) * 0.01, rel=1e-6)


def test_the_cheapest_that_is_not_distinguishably_worse_is_recommended() -> None:
    others: dict[Role, list[float]] = {"baseline": [0.5, 0.51, 0.52], "best": [0.8, 0.81, 0.79]}
    equal = decide(confirmed({**others, "cheapest": [0.79, 0.82, 0.78]}))
    assert equal.recommended is not None
    assert equal.recommended.setting.role == "cheapest"
    worse = decide(confirmed({**others, "cheapest": [0.7, 0.71, 0.69]}))
    assert worse.recommended is not None
    assert worse.recommended.setting.role == "best"


def test_what_breaks_a_limit_is_not_recommended_though_it_is_better_or_cheaper() -> None:
    values: dict[Role, list[float]] = {
        "baseline": [0.60, 0.61, 0.62], "best": [0.70, 0.71, 0.72], "cheapest": [0.69, 0.71, 0.72]
    }  # fmt: skip
    repeats = confirmed(values)
    cheapest = repeats.settings[2]
    slow = replace(cheapest, breaks="ms_per_image 9 > 8.5")
    decision = decide(replace(repeats, settings=[*repeats.settings[:2], slow]))
    assert decision.recommended is not None
    assert decision.recommended.setting.role == "best"
    assert decision.broken == "cheapest: ms_per_image 9 > 8.5"
    assert decide(repeats, limits=Limits.of({"ms_per_image": 8.5})).recommended == decide(repeats).recommended
    none_keeps = decide(repeats, limits=Limits.of({"ms_per_image": 7}))  # each repeat takes 8 ms
    assert none_keeps.recommended is None
    assert none_keeps.model is None
    assert "best: ms_per_image 8 > 7" in none_keeps.broken


def test_the_pretrained_model_is_not_recommended_if_it_breaks_a_limit(tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(bytes(2_000_000))
    values: dict[Role, list[float]] = {"baseline": [0.5, 0.51, 0.52], "best": [0.6, 0.61, 0.59]}
    as_is = replace(AS_IS, weights=weights)
    kept = decide(confirmed(values), as_is, Limits.of({"model_mb": 2.5})).recommended
    assert kept is not None
    assert kept.setting.role == "as is"
    broken = decide(confirmed(values), as_is, Limits.of({"model_mb": 1.5}))
    assert broken.broken == "as is: model_mb 2 > 1.5"
    assert broken.recommended is broken.results["best"], "it keeps the limits, and the pretrained model cannot be used"
    none_keeps = decide(confirmed(values), as_is, Limits.of({"model_mb": 1.5, "ms_per_image": 7}))
    assert none_keeps.recommended is None


def test_a_best_that_is_distinguishably_worse_than_the_baseline_is_not_recommended_though_it_is_cheaper() -> None:
    tested: dict[Role, list[float]] = {"baseline": [0.70, 0.71, 0.69], "best": [0.60, 0.61, 0.59]}
    decision = decide(confirmed(tested, {"baseline": 60.0, "best": 40.0}))
    assert decision.verdict == "worse"
    assert decision.recommended is decision.results["baseline"]


def test_the_pretrained_model_is_recommended_if_no_training_is_distinguishably_better() -> None:
    confirmation = confirmed({"baseline": [0.58, 0.63, 0.60], "best": [0.62, 0.59, 0.64]})
    decision = decide(confirmation, AS_IS)
    assert decision.over_as_is is not None
    assert decision.over_as_is.mean == pytest.approx(0.05 / 3)
    assert list(decision.results) == ["as is", "baseline", "best"]
    assert decision.recommended is decision.results["as is"]
    assert decision.model is not None
    assert (decision.model.role, decision.model.name, decision.model.tested) == ("as is", "as-is-000000-320", 0.6)
    assert decision.results["as is"].minus_best is not None
    assert decision.results["as is"].minus_best.seeds.high == pytest.approx(-decision.over_as_is.seeds.low)


@pytest.mark.parametrize(
    "tested",
    [
        {"baseline": [0.58, 0.63, 0.60], "best": [0.70, 0.71, 0.69]},
        {"baseline": [0.70, 0.71, 0.69], "best": [0.62, 0.59, 0.80]},
    ],
)
def test_a_training_that_is_distinguishably_better_than_the_pretrained_model_is_recommended(
    tested: dict[Role, list[float]],
) -> None:
    decision = decide(confirmed(tested), AS_IS)
    assert decision.recommended is not None
    assert decision.recommended.setting.role in ("baseline", "best")
    assert decision.model is not None
    assert decision.model.role == decision.recommended.setting.role


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.1, "better by 0.100"), (-0.1, "worse by 0.100"), (0.0001, "not distinguishable (+0.000)")],
)
def test_two_numbers_without_seeds_differ_if_three_digits_show_it(value: float, words: str) -> None:
    assert describe(Estimate(value, Interval(value, value), 0.0, 0)) == words


def test_a_cheap_setting_that_is_no_better_than_no_training_is_not_recommended() -> None:
    tested: dict[Role, list[float]] = {
        "baseline": [0.68, 0.69, 0.70],
        "best": [0.7, 0.8, 0.9],
        "cheapest": [0.6, 0.65, 0.58],
    }
    decision = decide(confirmed(tested), AS_IS)
    assert decision.recommended is not None
    assert decision.recommended.setting.role == "baseline"
    without = decide(confirmed(tested))
    assert without.recommended is not None
    assert without.recommended.setting.role == "cheapest"


def test_a_setting_that_breaks_a_limit_makes_no_other_setting_better_than_no_training() -> None:
    """Only the baseline is better than the pretrained model, and it is too slow."""
    tested: dict[Role, list[float]] = {"baseline": [0.68, 0.69, 0.70], "best": [0.2, 0.9, 0.6]}
    repeats = confirmed(tested)
    slow = {"baseline": 20.0, "best": 9.0}
    repeats = replace(repeats, repeats=[replace(repeat, ms_per_image=slow[repeat.role]) for repeat in repeats.repeats])
    decision = decide(repeats, AS_IS, Limits.of({"ms_per_image": 10.0}))
    assert decision.recommended is decision.results["as is"]


def test_one_seed_cannot_beat_the_pretrained_model_and_without_repeats_nothing_is_decided() -> None:
    alone = decide(confirmed({"best": [0.9]}), AS_IS)
    assert alone.recommended is not None
    assert alone.recommended.setting.role == "as is"
    nothing = decide(confirmed({"best": []}), AS_IS)
    assert (nothing.recommended, nothing.over_as_is, dict(nothing.results)) == (None, None, {})


def test_of_settings_that_cost_the_same_the_better_one_is_recommended() -> None:
    decision = decide(confirmed({"baseline": [0.75, 0.70, 0.72], "best": [0.76, 0.69, 0.74]}))
    assert decision.verdict == "not distinguishable"
    assert decision.recommended is not None
    assert decision.recommended.setting.role == "best"


def test_the_recommended_model_is_the_best_on_the_validation_split_not_on_the_test_split() -> None:
    confirmation = confirmed({"best": [0.8, 0.9, 0.7]})
    repeats = [
        Repeat("best", repeat.name, repeat.seed, -repeat.tested, repeat.tested, 1.0, 1.0)
        for repeat in confirmation.repeats
    ]
    decision = decide(Confirmation(confirmation.settings, repeats, {}))
    assert decision.model is not None
    assert decision.model.tested == 0.7
    assert decision.verdict is None


def test_a_setting_whose_repeats_all_failed_does_not_stop_the_decision() -> None:
    decision = decide(confirmed({"baseline": [], "best": [0.8, 0.81, 0.79]}))
    assert (decision.gain, decision.verdict, decision.detectable) == (None, None, None)
    assert decision.recommended is not None
    assert decide(confirmed({"baseline": [0.7], "best": []})).recommended is None


# Over splits ----------------------------------------------------------------------------------------------------------


SPLITS = Splits({1: Path("data"), 2: Path("two"), 3: Path("three")}, overlap=0.25)


def test_an_interval_over_splits_has_the_factor_of_nadeau_and_bengio() -> None:
    over_seeds, over_splits = estimate([0.70, 0.74, 0.72]), estimate([0.70, 0.74, 0.72], overlap=0.25)
    assert over_splits.seeds.width / over_seeds.seeds.width == pytest.approx(math.sqrt((1 / 3 + 0.25) / (1 / 3)))
    assert (over_splits.unit, over_splits.mean, over_splits.sd) == ("split", over_seeds.mean, over_seeds.sd)
    assert describe(estimate([0.05, 0.06, 0.055], 0.25)).endswith("3 splits)")
    assert estimate([0.70, 0.74, 0.72], overlap=0.0).seeds == over_seeds.seeds, "splits without a common image"


def test_of_a_thousand_reports_over_splits_without_a_difference_at_most_one_in_twenty_says_better() -> None:
    """40 training and 10 test images out of 50. Each image has a luck of its own, which a split meets or not."""
    random, overlap, better, alone = np.random.default_rng(0), 10 / 40, 0, 0
    for _ in range(1000):
        lucks = random.normal(0, 0.2, 50)
        tests = [random.permutation(50)[:10] for _ in range(3)]
        differences = [float(lucks[test].mean() + random.normal(0, 0.01)) for test in tests]
        better += verdict_of(estimate(differences, overlap)) == "better"
        alone += verdict_of(estimate(differences)) == "better"
    assert better <= 50
    assert better < alone, "the splits share images"


def test_a_detectable_difference_over_splits_is_larger() -> None:
    alone, shared = detectable(0.02, 5), detectable(0.02, 5, overlap=0.25)
    assert alone is not None
    assert shared is not None
    assert shared / alone == pytest.approx(math.sqrt((1 / 5 + 0.25) / (1 / 5)), rel=0.01)


def test_the_model_to_use_is_the_repeat_with_the_split_of_the_search() -> None:
    repeats = replace(confirmed({"baseline": [0.6, 0.61, 0.62], "best": [0.70, 0.75, 0.73]}), splits=SPLITS)
    decision = decide(repeats)
    assert decision.model is not None
    assert decision.model.seed == 1
    assert not decision.is_over_images
    assert decision.gain is not None
    assert decision.gain.unit == "split"


def test_the_pretrained_model_is_compared_split_by_split() -> None:
    repeats = replace(confirmed({"best": [0.70, 0.50, 0.60]}), splits=SPLITS)
    as_is = replace(AS_IS, by_seed={1: 0.60, 2: 0.41, 3: 0.49})
    decision = decide(repeats, as_is)
    assert decision.over_as_is is not None
    assert decision.over_as_is.mean == pytest.approx(0.1)
    assert verdict_of(decision.over_as_is) == "better", "each split differs by about 0.1"
    assert verdict_of(decide(replace(repeats, splits=None), AS_IS).over_as_is or decision.over_as_is) != "better"
    assert decision.results["as is"].tested.mean == pytest.approx(0.5)
