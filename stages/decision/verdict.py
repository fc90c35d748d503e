"""What a confirmation decides: whether the best is better than the baseline, and which setting to take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stages.decision.confirmation import CHEAPER, Confirmation, Repeat, Role, Setting
from stages.decision.significance import Estimate, Judgement, detectable, difference, estimate, judge
from stages.detector.as_is import AsIs


@dataclass(frozen=True)
class Standing:
    """A setting and what its repeats say.

    Attributes:
        setting: The setting.
        tested: mAP50 on the test split, over the seeds. Without training no seed plays a part, and n is 0.
        seconds: Of one training, the fastest: other work on the machine only adds to it.
        ms_per_image: Milliseconds for one image, the fastest likewise; None where it was not measured.
        to_best: How much greater than the best, seed by seed; None for the best itself, or where they share no seed.
    """

    setting: Setting
    tested: Estimate
    seconds: float
    ms_per_image: float | None
    to_best: Estimate | None


@dataclass(frozen=True)
class Decision:
    """The outcome.

    Attributes:
        standings: By role, of the pretrained model as it is, and of the settings that have repeats.
        gain: How much greater the best is than the baseline, seed by seed; None where there is nothing to compare.
        verdict: The best beside the baseline; None where there is nothing to compare.
        detectable: The true difference that so many seeds find in 80 of 100 cases; None where it cannot be told.
        recommended: The pretrained model as it is, if no training is distinguishably better; else the cheapest setting
            that is not distinguishably worse than the best. None where nothing was confirmed.
        model: The repeat of that setting that is best on the validation split: the model to take.
        over_as_is: How much greater the best is than the pretrained model as it is, over the seeds; None where there is
            no such model, or no best.
    """

    standings: Mapping[Role, Standing]
    gain: Estimate | None
    verdict: Judgement | None
    detectable: float | None
    recommended: Standing | None
    model: Repeat | None
    over_as_is: Estimate | None = None


def decide(done: Confirmation, as_is: AsIs | None = None) -> Decision:
    """Judge what was trained again. Nothing but the repeats is looked at: the search's own numbers were selected.

    Args:
        done: What was trained again.
        as_is: The pretrained model that the trainings started from, if they started from one.
    """
    tested = {setting.role: {one.seed: one.tested for one in done.of(setting.role)} for setting in done.settings}
    standings: dict[Role, Standing] = {
        setting.role: Standing(
            setting,
            estimate(list(tested[setting.role].values())),
            min(one.seconds for one in done.of(setting.role)),
            min((one.ms_per_image for one in done.of(setting.role) if one.ms_per_image is not None), default=None),
            difference(tested[setting.role], tested.get("best", {})) if setting.role != "best" else None,
        )
        for setting in done.settings
        if tested[setting.role]
    }
    gain = difference(tested.get("best", {}), tested.get("baseline", {}))
    over_as_is = None
    enough = False
    if as_is is not None and standings:
        gains = {role: _over(values, as_is.tested) for role, values in tested.items() if values}
        over_as_is = gains.get("best")
        enough = all(judge(found) != "better" for found in gains.values())
        standings = {"as is": _without_training(as_is, over_as_is), **standings}
    recommended = standings["as is"] if enough else _recommended(standings)
    repeats = done.of(recommended.setting.role) if recommended else []
    if enough and as_is is not None:
        repeats = [Repeat("as is", as_is.name, 0, as_is.validated, as_is.tested, 0.0, as_is.ms_per_image)]
    return Decision(
        standings,
        gain,
        judge(gain) if gain else None,
        detectable(gain.sd, gain.n) if gain else None,
        recommended,
        max(repeats, key=lambda one: (one.validated, -one.seed), default=None),
        over_as_is,
    )


def _over(values: Mapping[int, float], known: float) -> Estimate:
    """Return how much greater the values of a setting are than a number that no seed moves."""
    return estimate([value - known for value in values.values()])


def _without_training(as_is: AsIs, best_over_it: Estimate | None) -> Standing:
    tested = Estimate(as_is.tested, as_is.tested, as_is.tested, 0.0, 0)
    setting = Setting("as is", "", {"imgsz": as_is.imgsz}, as_is.validated, 0.0)
    return Standing(setting, tested, 0.0, as_is.ms_per_image, -best_over_it if best_over_it is not None else None)


def _recommended(standings: Mapping[Role, Standing]) -> Standing | None:
    """The cheapest that is not distinguishably worse than the best; of those that cost the same, the best measured."""
    if "best" not in standings:
        return None
    best = standings["best"]
    trained = [one for role, one in standings.items() if role != "as is"]
    fit = [best, *(one for one in trained if one.to_best is not None and judge(one.to_best) != "worse")]
    limit = min(one.seconds for one in fit) / CHEAPER
    return max((one for one in fit if one.seconds <= limit), key=lambda one: one.tested.mean)


def in_words(found: Estimate) -> str:
    """A verdict: by how much, how sure, from how many seeds."""
    if not found.n:
        kind = judge(found)
        return f"{kind} by {abs(found.mean):.3f}" if kind != "not distinguishable" else f"{kind} ({found.mean:+.3f})"
    seeds = f"{found.n} seed{'s' if found.n > 1 else ''}"
    if not math.isfinite(found.low):
        return f"not distinguishable ({found.mean:+.3f}; one seed gives no interval)"
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, {seeds}"
    kind = judge(found)
    if kind == "not distinguishable":
        return f"not distinguishable ({found.mean:+.3f}, {interval})"
    return f"{kind} by {abs(found.mean):.3f} ({interval})"
