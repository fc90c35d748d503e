"""What each searched key does to the result, and how much of it may be luck.

Importance is Optuna's own, PED-ANOVA (Watanabe et al., IJCAI 2023): how much a key decides whether a trial is among the
better ones. It tells nothing of a direction; the groups of values do.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.importance import get_param_importances
from optuna.trial import create_trial

from stages.base.formatting import plain
from stages.decision.evidence import Row
from stages.decision.significance import Noise
from stages.params.space import Dimension
from stages.search.sampling import distribution

FEWEST = 5  # complete trials before importance is told
GROUPS = 3  # of a key with many values
SHUFFLES = 1000
VALUES = 6  # that a key may have to be told value by value


@dataclass(frozen=True)
class Group:
    """Complete trials with one value of a key, or with values in one range.

    Attributes:
        label: The value or the range.
        mean: Of mAP50 on the validation split, 0 to 1.
        n: How many trials.
    """

    label: str
    mean: float
    n: int


@dataclass(frozen=True)
class Influence:
    """What a key does.

    Attributes:
        key: The key.
        importance: 0 to 1, together 1; None where it cannot be told.
        groups: By ascending value.
        seeds: What `difference` stays below in 95 of 100 cases where seeds alone make it; None where the noise is not
            known, or a key has one group.
        chance: The same where seeds and the other keys make it: by shuffling the trials over the groups.
    """

    key: str
    importance: float | None
    groups: list[Group]
    seeds: float | None
    chance: float | None

    @property
    def difference(self) -> float:
        """Between the best and the worst group."""
        means = [group.mean for group in self.groups]
        return max(means) - min(means) if means else 0.0


def influences(
    rows: Sequence[Row], space: Mapping[str, Any], keys: Sequence[str], noise: Noise | None
) -> list[Influence]:
    """What each key does.

    Args:
        rows: Complete trials.
        space: tune.space, as study.json has it.
        keys: The searched keys, in the order to tell them.
        noise: Between seeds, where it was measured.
    """
    importance = importances(rows, space)
    return [_influence(key, rows, importance.get(key), noise) for key in keys]


def _influence(key: str, rows: Sequence[Row], importance: float | None, noise: Noise | None) -> Influence:
    members = _members(key, rows)
    groups = [Group(label, statistics.fmean(values), len(values)) for label, values in members.items()]
    if len(groups) < 2:
        return Influence(key, importance, groups, None, None)
    random = np.random.default_rng(0)
    counts = np.array([group.n for group in groups])
    values = np.concatenate([*members.values()])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    shuffled = [np.add.reduceat(random.permutation(values), starts) / counts for _ in range(SHUFFLES)]
    seeds = None
    if noise is not None:
        sd = noise.sd * np.sqrt(noise.freedom / random.chisquare(noise.freedom, (SHUFFLES, 1)))  # it is an estimate
        seeds = _limit(random.normal(0, 1, (SHUFFLES, len(groups))) * sd / np.sqrt(counts))
    return Influence(key, importance, groups, seeds, _limit(np.array(shuffled)))


def _limit(means: NDArray[np.float64]) -> float:
    """The 95th percentile of the difference between the greatest and the least mean of a row."""
    return float(np.percentile(means.max(axis=1) - means.min(axis=1), 95))


def importances(rows: Sequence[Row], space: Mapping[str, Any]) -> dict[str, float]:
    """Importance of each key, together 1; nothing where there are too few trials, or all have one value."""
    if len(rows) < FEWEST or len({row.value for row in rows}) == 1:
        return {}
    whole = {key: all(isinstance(row.point.get(key), int) for row in rows) for key in space}
    distributions = {key: distribution(Dimension.model_validate(values), whole[key]) for key, values in space.items()}
    study = optuna.create_study(direction="maximize")
    for row in rows:
        try:
            study.add_trial(create_trial(params=row.point, distributions=distributions, value=row.value))
        except (ValueError, TypeError):  # a value outside the space, from a table of another study
            continue
    try:
        return dict(get_param_importances(study))
    except (ValueError, RuntimeError):  # the better trials do not differ in any key
        return {}


def _members(key: str, rows: Sequence[Row]) -> dict[str, list[float]]:
    """Results by the value of a key: each value where these are few or no numbers, else ranges of equal count."""
    found: dict[str, list[float]] = {}
    values = [row.point.get(key) for row in rows]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= VALUES:
        order = sorted(range(len(rows)), key=lambda place: _order(values[place]))
        for place in order:
            found.setdefault(plain(values[place]), []).append(rows[place].value or 0.0)
    else:
        edges = np.quantile(numbers, np.linspace(0, 1, GROUPS + 1)[1:-1])
        places = np.searchsorted(edges, numbers, side="left")
        for place in range(GROUPS):
            inside = [number for number, at in zip(numbers, places, strict=True) if at == place]
            if inside:
                label = f"{plain(min(inside))} to {plain(max(inside))}"
                found[label] = [row.value or 0.0 for row, at in zip(rows, places, strict=True) if at == place]
    return found


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, str(value)


def luck_share(rows: Sequence[Row], noise: Noise | None) -> float | None:
    """The share of the variance between trials that seeds alone would make, 0 to 1; None where it is not known."""
    values = [row.value or 0.0 for row in rows]
    if noise is None or len(values) < 2 or not (spread := statistics.variance(values)):
        return None
    return min(1.0, noise.sd**2 / spread)
