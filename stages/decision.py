"""What a confirmation decides: whether the best is better than the baseline, and which setting to take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stages.confirmation import CHEAPER, Confirmation, Repeat, Role, Setting
from stages.significance import Estimate, Judgement, detectable, difference, estimate, judge


@dataclass(frozen=True)
class Standing:
    """A setting and what its repeats say.

    Attributes:
        setting: The setting.
        tested: mAP50 on the test split, over the seeds.
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
        standings: By role, of the settings that have repeats.
        gain: How much greater the best is than the baseline, seed by seed; None where there is nothing to compare.
        verdict: The best beside the baseline; None where there is nothing to compare.
        detectable: The true difference that so many seeds find in 80 of 100 cases; None where it cannot be told.
        recommended: The cheapest setting that is not distinguishably worse than the best; None where nothing was
            confirmed.
        model: The repeat of that setting that is best on the validation split: the model to take.
    """

    standings: Mapping[Role, Standing]
    gain: Estimate | None
    verdict: Judgement | None
    detectable: float | None
    recommended: Standing | None
    model: Repeat | None


def decide(done: Confirmation) -> Decision:
    """Judge what was trained again. Nothing but the repeats is looked at: the search's own numbers were selected."""
    tested = {setting.role: {one.seed: one.tested for one in done.of(setting.role)} for setting in done.settings}
    standings = {
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
    recommended = _recommended(standings)
    repeats = done.of(recommended.setting.role) if recommended else []
    return Decision(
        standings,
        gain,
        judge(gain) if gain else None,
        detectable(gain.sd, gain.n) if gain else None,
        recommended,
        max(repeats, key=lambda one: (one.validated, -one.seed), default=None),
    )


def _recommended(standings: Mapping[Role, Standing]) -> Standing | None:
    """The cheapest that is not distinguishably worse than the best; of those that cost the same, the best measured."""
    if "best" not in standings:
        return None
    best = standings["best"]
    fit = [best, *(one for one in standings.values() if one.to_best is not None and judge(one.to_best) != "worse")]
    limit = min(one.seconds for one in fit) / CHEAPER
    return max((one for one in fit if one.seconds <= limit), key=lambda one: one.tested.mean)


def in_words(found: Estimate) -> str:
    """A verdict: by how much, how sure, from how many seeds."""
    seeds = f"{found.n} seed{'s' if found.n > 1 else ''}"
    if not math.isfinite(found.low):
        return f"not distinguishable ({found.mean:+.3f}; one seed gives no interval)"
    interval = f"95 % interval {found.low:+.3f} to {found.high:+.3f}, {seeds}"
    kind = judge(found)
    if kind == "not distinguishable":
        return f"not distinguishable ({found.mean:+.3f}, {interval})"
    return f"{kind} by {abs(found.mean):.3f} ({interval})"
