"""Decide from the repeats: whether the best setting is better than the baseline, and which setting to recommend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stages.decision.comparison import Comparison, compare
from stages.decision.confirmation import CHEAPER, Confirmation, Repeat, Role, Setting, Splits
from stages.decision.significance import Estimate, Verdict, detectable, verdict_of
from stages.detector.as_is import AsIs
from stages.params.schema import Limits


@dataclass(frozen=True)
class SettingResult:
    """A setting with the results of its repeats.

    Attributes:
        setting: The setting.
        tested: mAP50 on the test split, over the seeds and the test images. n is 0 for the model without training,
            which no seed changes; if the repeats have other splits, it is their number.
        seconds: Of the fastest training: other work on the machine only adds time.
        ms_per_image: Milliseconds for one image, of the fastest repeat; None if it was not measured.
        minus_best: Its mAP50 on the test split minus that of the best, seed by seed; None for the best itself, or if
            they share no seed.
        breaks: The limits that its first run or the cheapest repeat breaks, as text; empty if it keeps all.
        is_useful: Whether it is distinguishably better than the pretrained model without training. True if there is no
            such model, or if that model breaks a limit.
        by_seed: mAP50 of each repeat on the test split, by its seed.
    """

    setting: Setting
    tested: Estimate
    seconds: float
    ms_per_image: float | None
    minus_best: Estimate | None
    breaks: str = ""
    is_useful: bool = True
    by_seed: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The outcome of a confirmation.

    Attributes:
        results: By role: the pretrained model without training, and the settings that have repeats.
        gain: mAP50 of the best minus mAP50 of the baseline, seed by seed; None if they cannot be compared.
        verdict: Whether the best is better than the baseline; None if they cannot be compared.
        detectable: The true difference that so many seeds and images detect in 80 of 100 cases; None if it is not
            known.
        recommended: The cheapest useful setting that keeps the limits and is not distinguishably worse than the best.
            If there is none, it is the pretrained model without training. None if nothing keeps the limits.
        model: The model to use: the repeat of the recommended setting that is best on the validation split. If the
            repeats have other splits, the one that has the split of the search, so that its results can be compared.
        over_as_is: mAP50 of the best minus mAP50 of the pretrained model without training, over the seeds; None if one
            of the two does not exist.
        without_images: Why the intervals cover the seeds alone, as the end of a sentence; empty if they cover the test
            images too.
        splits: The splits of the repeats; None if all have the split of the search.
    """

    results: Mapping[Role, SettingResult]
    gain: Estimate | None
    verdict: Verdict | None
    detectable: float | None
    recommended: SettingResult | None
    model: Repeat | None
    over_as_is: Estimate | None = None
    without_images: str = ""
    splits: Splits | None = None

    @property
    def is_over_images(self) -> bool:
        """Return whether there are intervals over the test images beside those over seeds."""
        return not self.without_images and self.splits is None

    @property
    def broken(self) -> str:
        """Return the limits that the confirmed settings break, as text such as `best: ms_per_image 14.2 > 10`."""
        return "; ".join(f"{role}: {result.breaks}" for role, result in self.results.items() if result.breaks)


def decide(confirmation: Confirmation, as_is: AsIs | None = None, limits: Limits | None = None) -> Decision:
    """Return the decision. It uses the repeats only: the numbers of the search are the best of many, so too high.

    Args:
        confirmation: The repeats.
        as_is: The pretrained model that the trainings started from; None if they did not start from one.
        limits: The limits on the cost of a setting; None if there are none.
    """
    limits = limits or Limits.of({})
    comparison = compare(confirmation, as_is)
    best = confirmation.of("best")
    results: dict[Role, SettingResult] = {
        setting.role: _result(setting, repeats, best, comparison, limits)
        for setting in confirmation.settings
        if (repeats := confirmation.of(setting.role))
    }
    gain = comparison.minus(best, confirmation.of("baseline"))
    over_as_is = None
    if as_is is not None and results:
        gains = {role: comparison.minus_as_is(confirmation.of(role), as_is) for role in results}
        over_as_is = gains.get("best")
        untrained = _without_training(as_is, over_as_is, comparison, limits)
        trained = {
            role: replace(result, is_useful=bool(untrained.breaks) or verdict_of(gains[role]) == "better")
            for role, result in results.items()
        }
        results = {"as is": untrained, **trained}
    recommended = _recommended(results) or results.get("as is")
    if recommended is not None and recommended.breaks:
        recommended = None
    repeats = confirmation.of(recommended.setting.role) if recommended else []
    if recommended is not None and as_is is not None and recommended.setting.role == "as is":
        metrics = {"mAP50": as_is.tested, "ms_per_image": as_is.ms_per_image}
        as_repeat = Repeat("as is", as_is.name, 0, as_is.validated, as_is.tested, 0.0, as_is.ms_per_image)
        repeats = [replace(as_repeat, metrics=metrics)]
    return Decision(
        results,
        gain,
        verdict_of(gain) if gain else None,
        detectable(gain.sd, gain.n, gain.images, gain.overlap) if gain else None,
        recommended,
        _model_to_use(repeats, confirmation.splits),
        over_as_is,
        comparison.without_images,
        confirmation.splits,
    )


def _model_to_use(repeats: Sequence[Repeat], splits: Splits | None) -> Repeat | None:
    if splits is not None:
        repeats = [repeat for repeat in repeats if repeat.role == "as is" or repeat.seed == splits.first]
    return max(repeats, key=lambda repeat: (repeat.validated, -repeat.seed), default=None)


def _result(
    setting: Setting,
    repeats: Sequence[Repeat],
    best: Sequence[Repeat],
    comparison: Comparison,
    limits: Limits,
) -> SettingResult:
    seconds = min(repeat.seconds for repeat in repeats)
    speed = min((repeat.ms_per_image for repeat in repeats if repeat.ms_per_image is not None), default=None)
    return SettingResult(
        setting,
        comparison.mean(repeats),
        seconds,
        speed,
        comparison.minus(repeats, best) if setting.role != "best" else None,
        setting.breaks or limits.broken({"ms_per_image": speed, "train_seconds": seconds}),
        by_seed={repeat.seed: repeat.tested for repeat in repeats},
    )


def _without_training(
    as_is: AsIs, best_minus_as_is: Estimate | None, comparison: Comparison, limits: Limits
) -> SettingResult:
    setting = Setting("as is", "", {"imgsz": as_is.imgsz}, as_is.validated, 0.0)
    minus_best = -best_minus_as_is if best_minus_as_is is not None else None
    size = as_is.weights.stat().st_size / 1e6 if limits.model_mb is not None else None
    breaks = limits.broken({"ms_per_image": as_is.ms_per_image, "model_mb": size})
    tested = comparison.mean_as_is(as_is)
    return SettingResult(setting, tested, 0.0, as_is.ms_per_image, minus_best, breaks, by_seed=as_is.by_seed)


def _recommended(results: Mapping[Role, SettingResult]) -> SettingResult | None:
    """Return the cheapest useful setting that keeps the limits and is not distinguishably worse than the best, or None.

    Of settings that cost the same, it is the one with the greatest mean on the test split. If settings are
    distinguishably better than the best of the study, only these count.
    """
    by_verdict: dict[str, list[SettingResult]] = {}
    for role, result in results.items():
        if role == "as is" or result.breaks or not result.is_useful:
            continue
        if role == "best":
            by_verdict.setdefault("not distinguishable", []).append(result)
        elif result.minus_best is not None:
            by_verdict.setdefault(verdict_of(result.minus_best), []).append(result)
    good = by_verdict.get("better") or by_verdict.get("not distinguishable")
    if not good:
        return None
    limit = min(result.seconds for result in good) / CHEAPER
    return max((result for result in good if result.seconds <= limit), key=lambda result: result.tested.mean)


def describe(difference: Estimate) -> str:
    """Return a difference as text: the verdict, the size, the interval, and the number of seeds and images."""
    verdict = verdict_of(difference)
    size = f"{difference.mean:+.3f}" if verdict == "not distinguishable" else f"{abs(difference.mean):.3f}"
    limits = ""
    interval = difference.interval
    if not math.isfinite(interval.low):
        limits = "one seed gives no interval"
    elif difference.n or difference.images:
        limits = f"95 % interval {interval.low:+.3f} to {interval.high:+.3f}, {counts(difference)}"
    if verdict == "not distinguishable":
        separator = "; " if limits.startswith("one seed") else ", "
        return f"{verdict} ({separator.join(part for part in (size, limits) if part)})"
    return f"{verdict} by {size} ({limits})" if limits else f"{verdict} by {size}"


def counts(estimate: Estimate) -> str:
    """Return the number of seeds and of test images that an interval comes from, as text."""
    seeds = [f"{estimate.n} {estimate.unit}{'s' if estimate.n > 1 else ''}"] if estimate.n else []
    return " and ".join([*seeds, *([f"{estimate.images.n} test images"] if estimate.images else [])])


def larger_uncertainty(difference: Estimate) -> str:
    """Return which interval of a difference is wider, that over seeds or that over images, as a sentence.

    It is empty if one of the two is not known.
    """
    if difference.images is None or not difference.n or not math.isfinite(difference.seeds.low):
        return ""
    intervals = {
        f"the {difference.n} seeds": (difference.seeds, "more seeds"),
        f"the {difference.images.n} test images": (difference.images.limits, "more test images"),
    }
    (larger, (wide, remedy)), (smaller, (narrow, _)) = sorted(intervals.items(), key=lambda item: -item[1][0].width)
    return (
        f"The larger uncertainty is that of {larger} (95 % interval {wide.low:+.3f} to {wide.high:+.3f}), not that of "
        f"{smaller} ({narrow.low:+.3f} to {narrow.high:+.3f}), so {remedy} would narrow the result most."
    )
