"""Decide from the repeats: whether the best setting is better than the baseline, and which setting to recommend."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from stages.decision.confirmation import CHEAPER, Confirmation, Repeat, Role, Setting
from stages.decision.significance import Estimate, Verdict, detectable, difference, estimate, verdict_of
from stages.detector.as_is import AsIs


@dataclass(frozen=True)
class SettingResult:
    """A setting with the results of its repeats.

    Attributes:
        setting: The setting.
        tested: mAP50 on the test split, over the seeds. n is 0 for the model without training: no seed changes it.
        seconds: Of the fastest training: other work on the machine only adds time.
        ms_per_image: Milliseconds for one image, of the fastest repeat; None if it was not measured.
        minus_best: Its mAP50 on the test split minus that of the best, seed by seed; None for the best itself, or if
            they share no seed.
    """

    setting: Setting
    tested: Estimate
    seconds: float
    ms_per_image: float | None
    minus_best: Estimate | None


@dataclass(frozen=True)
class Decision:
    """The outcome of a confirmation.

    Attributes:
        results: By role: the pretrained model without training, and the settings that have repeats.
        gain: mAP50 of the best minus mAP50 of the baseline, seed by seed; None if they cannot be compared.
        verdict: Whether the best is better than the baseline; None if they cannot be compared.
        detectable: The true difference that so many seeds detect in 80 of 100 cases; None if it is not known.
        recommended: The pretrained model without training, if no training is distinguishably better. Else the cheapest
            setting that is not distinguishably worse than the best. None without repeats.
        model: The repeat of the recommended setting that is best on the validation split: the model to use.
        over_as_is: mAP50 of the best minus mAP50 of the pretrained model without training, over the seeds; None if one
            of the two does not exist.
    """

    results: Mapping[Role, SettingResult]
    gain: Estimate | None
    verdict: Verdict | None
    detectable: float | None
    recommended: SettingResult | None
    model: Repeat | None
    over_as_is: Estimate | None = None


def decide(confirmation: Confirmation, as_is: AsIs | None = None) -> Decision:
    """Return the decision. It uses the repeats only: the numbers of the search are the best of many, so too high.

    Args:
        confirmation: The repeats.
        as_is: The pretrained model that the trainings started from; None if they did not start from one.
    """
    tested = {
        setting.role: {repeat.seed: repeat.tested for repeat in confirmation.of(setting.role)}
        for setting in confirmation.settings
    }
    results: dict[Role, SettingResult] = {
        setting.role: _result(setting, confirmation.of(setting.role), tested.get("best", {}))
        for setting in confirmation.settings
        if tested[setting.role]
    }
    gain = difference(tested.get("best", {}), tested.get("baseline", {}))
    over_as_is = None
    useful = set(results)
    if as_is is not None and results:
        gains = {role: estimate(list(values.values())) - as_is.tested for role, values in tested.items() if values}
        over_as_is = gains.get("best")
        useful = {role for role, over in gains.items() if verdict_of(over) == "better"}
        results = {"as is": _without_training(as_is, over_as_is), **results}
    recommended = _recommended(results, useful) if useful else results.get("as is")
    repeats = confirmation.of(recommended.setting.role) if recommended else []
    if recommended is not None and as_is is not None and recommended.setting.role == "as is":
        repeats = [Repeat("as is", as_is.name, 0, as_is.validated, as_is.tested, 0.0, as_is.ms_per_image)]
    return Decision(
        results,
        gain,
        verdict_of(gain) if gain else None,
        detectable(gain.sd, gain.n) if gain else None,
        recommended,
        max(repeats, key=lambda repeat: (repeat.validated, -repeat.seed), default=None),
        over_as_is,
    )


def _result(setting: Setting, repeats: list[Repeat], best: Mapping[int, float]) -> SettingResult:
    tested = {repeat.seed: repeat.tested for repeat in repeats}
    return SettingResult(
        setting,
        estimate(list(tested.values())),
        min(repeat.seconds for repeat in repeats),
        min((repeat.ms_per_image for repeat in repeats if repeat.ms_per_image is not None), default=None),
        difference(tested, best) if setting.role != "best" else None,
    )


def _without_training(as_is: AsIs, best_minus_as_is: Estimate | None) -> SettingResult:
    tested = Estimate(as_is.tested, as_is.tested, as_is.tested, 0.0, 0)
    setting = Setting("as is", "", {"imgsz": as_is.imgsz}, as_is.validated, 0.0)
    minus_best = -best_minus_as_is if best_minus_as_is is not None else None
    return SettingResult(setting, tested, 0.0, as_is.ms_per_image, minus_best)


def _recommended(results: Mapping[Role, SettingResult], useful: Collection[Role]) -> SettingResult | None:
    """Return the cheapest setting that is not distinguishably worse than the best; None without the best.

    Of settings that cost the same, it is the one with the greatest mean on the test split.

    Args:
        results: The results by role.
        useful: The settings that are distinguishably better than no training. Another setting is not worth its cost.
    """
    if "best" not in results:
        return None
    good = [
        result
        for role, result in results.items()
        if role in useful
        and (role == "best" or (result.minus_best is not None and verdict_of(result.minus_best) != "worse"))
    ] or [results["best"]]
    limit = min(result.seconds for result in good) / CHEAPER
    return max((result for result in good if result.seconds <= limit), key=lambda result: result.tested.mean)


def describe(difference: Estimate) -> str:
    """Return a difference as text: the verdict, the size, the interval and the number of seeds."""
    verdict = verdict_of(difference)
    size = f"{difference.mean:+.3f}" if verdict == "not distinguishable" else f"{abs(difference.mean):.3f}"
    limits = ""
    if difference.n and not math.isfinite(difference.low):
        limits = "one seed gives no interval"
    elif difference.n:
        seeds = f"{difference.n} seed{'s' if difference.n > 1 else ''}"
        limits = f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}, {seeds}"
    if verdict == "not distinguishable":
        separator = "; " if limits.startswith("one seed") else ", "
        return f"{verdict} ({separator.join(part for part in (size, limits) if part)})"
    return f"{verdict} by {size} ({limits})" if limits else f"{verdict} by {size}"
