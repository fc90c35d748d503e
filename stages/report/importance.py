"""The effect of each searched parameter on the result, and how much of it may be luck.

Importance is Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023), computed by stage study: how much a parameter decides
whether a trial is among the better ones. It has no direction; the groups of values show the direction.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base.formatting import markdown_table, plain
from stages.decision.evidence import Row
from stages.experiments.noise import Noise
from stages.report.numbers import fixed

GROUPS = 3  # ranges of a parameter with many values: each still has several trials in a study of twenty
SHUFFLES = 1000
VALUES = 6  # at most so many values are shown one by one; more are shown as ranges


@dataclass(frozen=True)
class Group:
    """Complete trials with one value of a parameter, or with values in one range.

    Attributes:
        label: The value or the range.
        mean: The mean mAP50 on the validation split, 0 to 1.
        n: The number of trials.
    """

    label: str
    mean: float
    n: int


@dataclass(frozen=True)
class Effect:
    """The effect of a parameter.

    Attributes:
        key: The parameter.
        importance: 0 to 1; the importances of all parameters add up to 1. None if it is not known.
        groups: By ascending value.
        seed_limit: If only the seeds differed, `difference` would stay below this limit in 95 of 100 cases. None if the
            noise is not known, or if there are fewer than two groups.
        chance_limit: The same if only the seeds and the other parameters differed, by shuffling the trials over the
            groups.
    """

    key: str
    importance: float | None
    groups: list[Group]
    seed_limit: float | None
    chance_limit: float | None

    @property
    def difference(self) -> float:
        """The mean of the best group minus the mean of the worst group; 0 without groups."""
        means = [group.mean for group in self.groups]
        return max(means) - min(means) if means else 0.0

    @property
    def interpretation(self) -> str:
        """Say whether the difference is more than chance."""
        if len(self.groups) < 2:
            return "one value only"
        if self.seed_limit is not None and self.difference <= self.seed_limit:
            return "seeds alone could explain it"
        if self.chance_limit is not None and self.difference <= self.chance_limit:
            return "chance could explain it"
        return "more than chance"

    def sentence(self) -> str:
        """Return the effect as a sentence."""
        if len(self.groups) < 2:
            return f"{self.key}: all complete trials have {self.groups[0].label if self.groups else 'none'}."
        first, last = self.groups[0], self.groups[-1]
        return (
            f"{self.key}: from {first.label} (n = {first.n}) to {last.label} (n = {last.n}) the mean changes by "
            f"{last.mean - first.mean:+.3f}; the best group minus the worst group: {self.interpretation}."
        )


def effects_of(
    rows: Sequence[Row], keys: Sequence[str], importances: Mapping[str, float], noise: Noise | None
) -> list[Effect]:
    """Return the effect of each parameter.

    Args:
        rows: The complete trials.
        keys: The searched parameters, in the order of the result.
        importances: The importance of each parameter, as study.json has it; empty if it is not known.
        noise: The noise between seeds, if it was measured.
    """
    return [_effect(key, rows, importances.get(key), noise) for key in keys]


def effects_table(effects: Sequence[Effect]) -> str:
    """Return the table of these effects, a row for each parameter."""
    cells = [
        [
            effect.key,
            fixed(effect.importance, 2),
            fixed(effect.difference),
            fixed(effect.seed_limit),
            fixed(effect.chance_limit),
            effect.interpretation,
            ", ".join(f"{group.label}: {group.mean:.3f} (n = {group.n})" for group in effect.groups),
        ]
        for effect in effects
    ]
    head = ("parameter", "importance", "best minus worst", "seed limit", "chance limit", "interpretation",
            "mean mAP50 of the groups")  # fmt: skip
    return "\n".join(markdown_table(head, cells))


def seed_share(rows: Sequence[Row], noise: Noise | None) -> float | None:
    """Return the share of the variance between trials that is due to the seeds, 0 to 1; None if it is not known."""
    values = [row.value or 0.0 for row in rows]
    if noise is None or len(values) < 2 or not (spread := statistics.variance(values)):
        return None
    return min(1.0, noise.sd**2 / spread)


def _effect(key: str, rows: Sequence[Row], importance: float | None, noise: Noise | None) -> Effect:
    members = _members(key, rows)
    groups = [Group(label, statistics.fmean(values), len(values)) for label, values in members.items()]
    if len(groups) < 2:
        return Effect(key, importance, groups, None, None)
    random = np.random.default_rng(0)
    counts = np.array([group.n for group in groups])
    values = np.concatenate([*members.values()])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    shuffled = [np.add.reduceat(random.permutation(values), starts) / counts for _ in range(SHUFFLES)]
    seed_limit = None
    if noise is not None:
        # The standard deviation is itself an estimate, so each repetition draws one from its distribution.
        sd = noise.sd * np.sqrt(noise.freedom / random.chisquare(noise.freedom, (SHUFFLES, 1)))
        seed_limit = _limit(random.normal(0, 1, (SHUFFLES, len(groups))) * sd / np.sqrt(counts))
    return Effect(key, importance, groups, seed_limit, _limit(np.array(shuffled)))


def _limit(means: NDArray[np.float64]) -> float:
    """Return the 95th percentile of the greatest minus the least mean of each row."""
    return float(np.percentile(means.max(axis=1) - means.min(axis=1), 95))


def _members(key: str, rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return the results by the value of a parameter: by single values, or by ranges with equal numbers of trials.

    Single values are used if there are at most six, or if they are not numbers.
    """
    members: dict[str, list[float]] = {}
    values = [row.point.get(key) for row in rows]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= VALUES:
        order = sorted(range(len(rows)), key=lambda place: _order(values[place]))
        for place in order:
            members.setdefault(plain(values[place]), []).append(rows[place].value or 0.0)
    else:
        edges = np.quantile(numbers, np.linspace(0, 1, GROUPS + 1)[1:-1])
        places = np.searchsorted(edges, numbers, side="left")
        for place in range(GROUPS):
            inside = [number for number, at in zip(numbers, places, strict=True) if at == place]
            if inside:
                label = f"{plain(min(inside))} to {plain(max(inside))}"
                members[label] = [row.value or 0.0 for row, at in zip(rows, places, strict=True) if at == place]
    return members


def _order(value: Any) -> tuple[bool, float, str]:
    """Return a sort key: numbers by size, then other values by their text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, str(value)
