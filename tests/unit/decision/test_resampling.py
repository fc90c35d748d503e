"""The bootstrap over test images: its mAP50 is Ultralytics', and its intervals err as rarely as they promise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stages.decision import comparison
from stages.decision.confirmation import Confirmation, Repeat, Role, Setting
from stages.decision.resampling import ImageDraws, draw, map50, resample
from stages.decision.significance import Estimate, ImageInterval, Interval, detectable, estimate
from stages.decision.verdict import Decision, decide, larger_uncertainty
from stages.detector.as_is import AsIs
from stages.detector.matches import ClassMatches, Matches
from tests.helpers.matches import liking, plain_map50, predictions, random_images, table, true_map50

SETTINGS = [Setting(role, role, {}, 0.7, 9.0) for role in ("baseline", "best")]
SKILL = 1.0


def by_ultralytics(matches: Matches, counts: np.ndarray) -> float:
    """Return mAP50 of Ultralytics for a data set that has each image as often as `counts` says."""
    from stages.detector import ultralytics  # noqa: F401 - sets the environment before the next import

    from ultralytics.utils.metrics import ap_per_class  # isort: skip

    correct, confidences, labels, truth = [], [], [], []
    for label, part in enumerate(matches.classes.values()):
        of_prediction = np.repeat(np.arange(len(part.places)), counts[part.places].astype(int))
        correct.append(part.correct[of_prediction])
        confidences.append(part.confidences[of_prediction])
        labels.append(np.full(len(of_prediction), label))
        truth.append(np.full(int(counts @ part.objects), label))
    columns = [np.concatenate(part) for part in (correct, confidences, labels, truth)]
    return float(ap_per_class(columns[0][:, None], *columns[1:])[5].mean())


def two_classes(images: int, seed: int) -> Matches:
    """Return the predictions of a model of two classes; the second one is rare."""
    random = np.random.default_rng(seed)
    common, rare = (predictions(random_images(images, random), skill, random) for skill in (1.0, 0.0))
    (person,), (dog,) = common.classes.values(), rare.classes.values()
    kept = dog.places < 2
    few = ClassMatches(
        np.where(np.arange(images) < 2, dog.objects, 0), dog.places[kept], dog.confidences[kept], dog.correct[kept]
    )
    return Matches(common.images, {"person": person, "dog": few})


def test_map50_of_any_choice_of_images_is_that_of_ultralytics() -> None:
    matches = two_classes(25, seed=0)
    counts = np.vstack([np.ones(25), draw(25, 60)])
    assert (counts[:, :2].sum(axis=1) == 0).any(), "a choice has no object of the second class"
    expected = [by_ultralytics(matches, choice) for choice in counts]
    assert map50(matches, counts) == pytest.approx(expected, abs=1e-9)


def test_a_model_without_a_correct_prediction_has_zero_and_a_choice_without_an_object_has_no_map50() -> None:
    nothing = ClassMatches(np.array([1, 0]), np.array([0, 1]), np.array([0.9, 0.8]), np.array([False, False]))
    values = map50(Matches(("a", "b"), {"person": nothing}), np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert values[0] == 0
    assert np.isnan(values[1])


def test_a_thousand_draws_of_500_images_take_less_than_ten_seconds() -> None:
    random = np.random.default_rng(0)
    images = random_images(500, random)
    models = [predictions(images, SKILL, random) for _ in range(6)]
    tables = {f"run-{number}": (table(matches), plain_map50(matches)) for number, matches in enumerate(models)}
    begun = time.process_time()
    draws = resample(tables)
    assert time.process_time() - begun < 10
    assert draws.images == 500
    assert {len(values) for values in draws.values.values()} == {1000}
    again = resample(tables)
    assert all((again.values[name] == values).all() for name, values in draws.values.items()), "other draws"


def test_a_model_without_its_table_or_with_another_one_leaves_no_draws_and_is_named() -> None:
    random = np.random.default_rng(0)
    matches = predictions(random_images(12, random), SKILL, random)
    other = predictions(random_images(13, random), SKILL, random)
    good = (table(matches), plain_map50(matches))
    assert resample({"run-a": good}).reason == ""
    single = predictions(random_images(1, random), 9.0, random)
    assert resample({"run-a": (table(single), plain_map50(single))}).reason == "the test split has a single image"
    for bad, reason in (
        (("", 0.5), "reports/evaluate/matches.csv of run-b is missing or damaged"),
        (("a\tb\n", 0.5), "reports/evaluate/matches.csv of run-b cannot be read"),
        ((table(other), plain_map50(other)), "run-b was tested on other images than run-a"),
        ((good[0], good[1] + 0.1), f"run-b has mAP50 {good[1]:.3f}, not {good[1] + 0.1:.3f}"),
    ):
        draws = resample({"run-a": good, "run-b": bad})
        assert reason in draws.reason
        assert (draws.images, dict(draws.values)) == (0, {})
        assert draws.mean(["run-a"]) is None


def test_the_pretrained_model_is_compared_image_by_image_and_has_an_interval_over_images_of_its_own() -> None:
    random = np.random.default_rng(0)
    images = random_images(30, random)
    models = {f"best-{seed}": predictions(images, SKILL, random) for seed in (1, 2, 3)}
    repeats = [
        Repeat("best", name, int(name[-1]), 0.7, plain_map50(matches), 9.0, 8.0, None, table(matches))
        for name, matches in models.items()
    ]
    before = predictions(images, 0.0, random)
    facts = ("yolov8n.pt", "keep", Path("w.pt"), "0" * 64, 320, ("person",), 0.55)
    as_is = AsIs(*facts, plain_map50(before), 9.0, table(before))
    decision = decide(Confirmation(SETTINGS[1:], repeats, {}), as_is)
    own, over = decision.results["as is"].tested, decision.over_as_is
    assert over is not None
    assert own.images is not None
    assert own.interval == own.images.limits, "no seed plays a part"
    values = [map50(matches, draw(30)) for matches in (*models.values(), before)]
    expected = estimate([repeat.tested for repeat in repeats]) - as_is.tested
    assert over == expected.over_images(np.mean(values[:3], axis=0) - values[3], 30)
    unknown = decide(Confirmation(SETTINGS[1:], repeats, {}), AsIs(*facts, plain_map50(before), 9.0))
    assert unknown.without_images == f"reports/evaluate/matches.csv of {as_is.name} is missing or damaged"
    assert unknown.over_as_is == expected


# Simulated reports ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A simulated study whose best setting is no better than its baseline.

    Attributes:
        images: The number of test images.
        liking: How differently the two settings do on an image, whatever the seed.
        luck: How much the skill of a model depends on its seed.
    """

    images: int
    liking: float
    luck: float = 0.0


Tables = dict[str, tuple[str, float]]


def simulated(world: World, count: int, resampled: Callable[[dict[str, Matches]], Tables]) -> Iterator[Decision]:
    """Yield the decisions of simulated studies with three seeds.

    Args:
        world: The settings and the images.
        count: The number of studies.
        resampled: A function that gets the predictions of each repeat, and returns what `resample` will get.
    """
    random = np.random.default_rng(1)
    for _ in range(count):
        images, models = random_images(world.images, random), {}
        for setting in SETTINGS:
            liked = liking(images, world.liking, random)
            for seed in (1, 2, 3):
                skill = SKILL + random.normal(0, world.luck)
                models[f"{setting.role}-{seed}"] = predictions(images, skill, random, liked)
        tables = resampled(models)
        repeats = [
            Repeat(role, name, int(seed), 0.7, value, 9.0, 8.0, None, text)
            for name, (text, value) in tables.items()
            for role, seed in [_parts(name)]
        ]
        yield decide(Confirmation(SETTINGS, repeats, {}))


def _parts(name: str) -> tuple[Role, str]:
    role, _, seed = name.partition("-")
    return ("best" if role == "best" else "baseline"), seed


@pytest.mark.parametrize(("skill", "wrong"), [(1.0, 15.0), (0.0, 15.0)])
def test_the_interval_over_images_also_covers_a_low_value_which_draws_with_repeated_images_exceed(
    skill: float, wrong: float
) -> None:
    random = np.random.default_rng(0)
    truth = plain_map50(predictions(random_images(50_000, random), skill, random, wrong=wrong))
    assert truth < 0.4
    counts, covered, excess = draw(40, 300), [], []
    for _ in range(300):
        matches = predictions(random_images(40, random), skill, random, wrong=wrong)
        draws = map50(matches, counts)
        result = estimate([plain_map50(matches)]).over_images(draws, 40)
        assert result.images is not None
        covered.append(result.images.limits.low <= truth <= result.images.limits.high)
        excess.append(draws.mean() - result.mean)
    assert np.mean(excess) > 0, "this world is no test of the centre"
    assert 0.92 <= np.mean(covered) <= 0.98


def is_calibrated(decisions: list[Decision], truth: float) -> None:
    """Check the coverage of the intervals over images of a setting and of the difference: 92 to 98 %."""
    of_settings = [decision.results[role].tested.images for decision in decisions for role in ("baseline", "best")]
    of_gains = [decision.gain.images for decision in decisions if decision.gain]
    for intervals, value in ((of_settings, truth), (of_gains, 0.0)):
        assert len(intervals) >= len(decisions)
        covered = [it.limits.low <= value <= it.limits.high for it in intervals if it is not None]
        assert 0.92 <= np.mean(covered) <= 0.98


def better(decisions: list[Decision]) -> float:
    return float(np.mean([decision.verdict == "better" for decision in decisions]))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Matches]], Tables]:
    """Resample predictions 200 times, without writing and reading their tables."""
    held: dict[str, Matches] = {}

    def fill(models: dict[str, Matches]) -> Tables:
        held.clear()
        held.update(models)
        return {name: ("", plain_map50(matches)) for name, matches in models.items()}

    def draws(_: Tables) -> ImageDraws:
        images = len(next(iter(held.values())).images)
        counts = draw(images, 200)
        return ImageDraws(images, {name: map50(matches, counts) for name, matches in held.items()})

    monkeypatch.setattr(comparison, "resample", draws)
    return fill


def written(models: dict[str, Matches]) -> Tables:
    return {name: (table(matches), plain_map50(matches)) for name, matches in models.items()}


def test_the_interval_over_images_covers_the_true_value_in_92_to_98_of_100_reports(
    quick: Callable[[dict[str, Matches]], Tables],
) -> None:
    world = World(24, liking=1.0)
    truth = true_map50(SKILL, world.liking, np.random.default_rng(0))
    decisions = list(simulated(world, 500, quick))
    is_calibrated(decisions, truth)
    assert better(decisions) <= 0.05


@pytest.mark.parametrize("images", [10, 24])
def test_at_most_one_report_in_twenty_calls_luck_with_the_images_better_although_seeds_alone_do(
    quick: Callable[[dict[str, Matches]], Tables], images: int
) -> None:
    decisions = list(simulated(World(images, liking=2.5, luck=0.1), 300, quick))
    over_seeds = [decision.gain.seeds.low > 0 for decision in decisions if decision.gain]
    assert np.mean(over_seeds) > 0.05, "this world is no test of the images"
    assert better(decisions) <= 0.05


def test_at_most_one_report_in_twenty_calls_luck_with_the_seeds_better_although_images_alone_do(
    quick: Callable[[dict[str, Matches]], Tables],
) -> None:
    decisions = list(simulated(World(24, liking=0.0, luck=1.0), 300, quick))
    over_images = [
        decision.gain.images.limits.low > 0 for decision in decisions if decision.gain and decision.gain.images
    ]
    assert np.mean(over_images) > 0.05, "this world is no test of the seeds"
    assert better(decisions) <= 0.05


@pytest.mark.slow
def test_of_300_whole_reports_the_intervals_cover_and_at_most_one_in_twenty_says_better() -> None:
    """With the tables as files have them and 1,000 draws."""
    world = World(40, liking=1.0)
    truth = true_map50(SKILL, world.liking, np.random.default_rng(0))
    decisions = list(simulated(world, 300, written))
    assert {decision.without_images for decision in decisions} == {""}
    is_calibrated(decisions, truth)
    assert better(decisions) <= 0.05


# Power and words ------------------------------------------------------------------------------------------------------


def over(error: float, images: int = 64) -> ImageInterval:
    return ImageInterval(Interval(-2 * error, 2 * error), error, images)


@pytest.mark.parametrize(("pairs", "error"), [(3, 0.0), (3, 0.02), (5, 0.005), (5, 0.05)])
def test_a_detectable_difference_over_seeds_and_images_is_found_in_four_of_five(pairs: int, error: float) -> None:
    effect = detectable(0.02, pairs, over(error))
    assert effect is not None
    random = np.random.default_rng(2)
    found = []
    for _ in range(4000):
        result = estimate(list(random.normal(effect, 0.02, pairs) + random.normal(0, error)))
        images = ImageInterval(Interval(result.mean - 2 * error, result.mean + 2 * error), error, 64)
        found.append(Estimate(result.mean, result.seeds, result.sd, pairs, images).interval.low > 0)
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_the_interval_over_both_is_wider_than_each_and_the_larger_of_the_two_is_named() -> None:
    gain = Estimate(0.05, Interval(0.02, 0.08), 0.01, 3, ImageInterval(Interval(0.01, 0.09), 0.02, 64))
    assert gain.interval.low == pytest.approx(0.0)
    assert gain.interval.high == pytest.approx(0.1)
    assert larger_uncertainty(gain) == (
        "The larger uncertainty is that of the 64 test images (95 % interval +0.010 to +0.090), not that of the 3 "
        "seeds (+0.020 to +0.080), so more test images would narrow the result most."
    )
    narrow = Estimate(0.05, Interval(0.02, 0.08), 0.01, 3, ImageInterval(Interval(0.04, 0.06), 0.005, 64))
    assert "is that of the 3 seeds (95 % interval +0.020 to +0.080), not" in larger_uncertainty(narrow)
    assert larger_uncertainty(estimate([0.1, 0.2])) == ""
    assert larger_uncertainty(estimate([0.1]).over_images(np.linspace(0, 0.2, 100), 64)) == ""
    assert (-gain).interval.low == pytest.approx(-gain.interval.high)
    assert (gain - 0.05).images is None
