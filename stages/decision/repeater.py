"""Confirm the main settings of a study: train them again with other seeds, and measure them on the test split."""

from __future__ import annotations

from collections.abc import Sequence

from stages.base.formatting import words
from stages.decision.confirmation import Confirmation, Repeat, Role, Setting, Splits, cheapest_setting, first_settings
from stages.decision.evidence import Evidence
from stages.experiments.finished import FinishedTraining
from stages.search.repeats import Repeater, Wanted
from stages.search.train_all import one_process


def confirm(evidence: Evidence, repeater: Repeater, splits: Splits | None = None) -> Confirmation:
    """Train the settings of a study again. If another process does so on this machine, wait for it first.

    Args:
        evidence: The study.
        repeater: Trains the repeats.
        splits: The splits of the repeats, if each has its own.

    Raises:
        Failure: The dvc command that started this process has ended.
    """
    settings = first_settings(evidence)
    failed: dict[str, str] = {}
    with one_process():
        confirmation = Confirmation(settings, _repeat(settings, repeater, failed), failed, splits)
        cheapest = cheapest_setting(evidence, settings, confirmation.noise())
        if cheapest is not None:
            repeats = [*confirmation.repeats, *_repeat([cheapest], repeater, failed)]
            confirmation = Confirmation([*settings, cheapest], repeats, failed, splits)
    return confirmation


def _repeat(settings: Sequence[Setting], repeater: Repeater, failed: dict[str, str]) -> list[Repeat]:
    """Return the repeats of each setting with each seed; add the reasons for missing repeats to `failed`."""
    roles: dict[str, Role] = {setting.role: setting.role for setting in settings}
    wanted = [Wanted(setting.role, setting.point, seed) for setting in settings for seed in repeater.seeds]
    existing, missing = repeater.existing(wanted)
    if wanted:
        names = " and ".join(f"{setting.role} ({words(setting.point)})" for setting in settings)
        print(
            f"confirming {names} with seeds {', '.join(map(str, repeater.seeds))}: {len(missing)} to train, "
            f"{len(existing)} measured before",
            flush=True,
        )
    trained = repeater.train(missing, failed) if missing else []
    repeats = [_repeat_of(roles[repeat.label], repeat.seed, training) for repeat, training in [*existing, *trained]]
    return sorted(repeats, key=lambda repeat: (list(roles).index(repeat.role), repeat.seed))


def _repeat_of(role: Role, seed: int, training: FinishedTraining) -> Repeat:
    metrics, tested = training.metrics, training.tested
    return Repeat(
        role,
        training.name,
        seed,
        metrics["mAP50"],
        tested["mAP50"],
        metrics["train_seconds"],
        tested.get("ms_per_image"),
        tested.get("threshold"),
        training.matches,
        tested,
    )
