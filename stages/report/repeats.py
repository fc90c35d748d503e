"""The tables of a confirmation, and the reason for its recommendation."""

from __future__ import annotations

from collections.abc import Mapping

from stages.base.formatting import markdown_table, words
from stages.decision.confirmation import Confirmation, Role
from stages.decision.significance import verdict_of
from stages.decision.verdict import Decision, SettingResult, counts
from stages.report.numbers import fixed, intervals, limits

ROLES: Mapping[Role, str] = {
    "as is": "the pretrained model without training",
    "baseline": "the parameters before the study",
    "best": "the best trial of the study",
    "cheapest": "the cheapest trial whose result is within the noise of the best",
}


def _interval_columns(decision: Decision) -> tuple[str, ...]:
    return ("over seeds", "over images", "over both") if decision.is_over_images else ("95 % interval",)


def setting_name(result: SettingResult) -> str:
    """Return the name of a setting in a sentence."""
    role = result.setting.role
    return ROLES[role] if role == "as is" else f"the {role} setting"


def settings_table(decision: Decision) -> str:
    """Return the table of the settings, a row each."""
    cells = []
    for result in decision.results.values():
        setting, tested = result.setting, result.tested
        first_run = setting.run or ("no training" if setting.role == "as is" else "no run before")
        cells.append(
            [setting.role, words(setting.point), first_run, fixed(setting.validated), str(tested.n), fixed(tested.mean),
             *intervals(tested), fixed(result.seconds, 0), fixed(result.ms_per_image, 1)]
        )  # fmt: skip
    head = ("setting", "values", "first run", "its validation mAP50", "seeds", "test mAP50",
            *_interval_columns(decision), "seconds", "ms per image")  # fmt: skip
    return "\n".join(markdown_table(head, cells))


def repeats_table(confirmation: Confirmation) -> str:
    """Return the table of the repeats, a row each."""
    cells = [
        [repeat.role, repeat.name, str(repeat.seed), fixed(repeat.validated), fixed(repeat.tested),
         fixed(repeat.seconds, 0)]
        for repeat in confirmation.repeats
    ]  # fmt: skip
    return "\n".join(markdown_table(("setting", "run", "seed", "validation mAP50", "test mAP50", "seconds"), cells))


def differences_table(decision: Decision) -> str:
    """Return the table of the differences between settings; empty if no two can be compared."""
    cheapest = decision.results.get("cheapest")
    differences = {
        "best minus baseline": decision.gain,
        "best minus as is": decision.over_as_is,
        "cheapest minus best": cheapest.minus_best if cheapest is not None else None,
    }
    cells = [
        [name, str(difference.n), f"{difference.mean:+.3f}", *intervals(difference, "+"), verdict_of(difference)]
        for name, difference in differences.items()
        if difference is not None
    ]
    head = ("difference", "seeds", "mean", *_interval_columns(decision), "verdict")
    return "\n".join(markdown_table(head, cells)) if cells else ""


def reason(decision: Decision, recommended: SettingResult) -> str:
    """Return why a trained setting is recommended."""
    role, best, minus_best = recommended.setting.role, decision.results["best"], recommended.minus_best
    if minus_best is None:
        others = [
            f"{setting_name(result)} {_shortcoming(result)}"
            for result in decision.results.values()
            if result.minus_best is not None
        ]
        return f"Take the best setting{': ' + ' and '.join(others) if others else ''}."
    gap = f"{minus_best.mean:+.3f}, 95 % interval {limits(minus_best.interval, '+')}, {counts(minus_best)}"
    if verdict_of(minus_best) == "better":
        return f"Take the {role} setting: it is distinguishably better than the best setting of the study ({gap})."
    if best.breaks or not best.is_useful:
        return f"Take the {role} setting: the best setting {_shortcoming(best)}. The difference to it: {gap}."
    saved = round(100 * (1 - recommended.seconds / best.seconds))
    cost = f"costs {abs(saved)} % {'less' if saved > 0 else 'more'} than the best" if saved else "costs the same"
    return (
        f"Take the {role} setting: it {cost} ({recommended.seconds:.0f} s against {best.seconds:.0f} s) and is not "
        f"distinguishably worse ({gap}). The lower end of this interval is the loss of mAP50 that it may cause. To "
        "narrow the part of the interval that is due to the seeds, run "
        f"`dvc exp run tune -S tune.confirm_seeds={2 * minus_best.n}`, which reuses the existing repeats."
    )


def _shortcoming(result: SettingResult) -> str:
    """Return why a setting is not recommended."""
    if result.breaks:
        return f"breaks a limit ({result.breaks})"
    if not result.is_useful:
        return "is not distinguishably better than no training"
    return "is worse" if result.minus_best is not None and verdict_of(result.minus_best) == "worse" else "is no cheaper"
