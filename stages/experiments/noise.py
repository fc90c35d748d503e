"""The noise between seeds: how much results differ if only the seed of the training differs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import t

from stages.experiments.finished import FinishedTraining
from stages.params.space import same


@dataclass(frozen=True)
class Noise:
    """The spread of results that differ only in the seed.

    Attributes:
        sd: The standard deviation, pooled over the settings.
        freedom: The degrees of freedom of `sd`.
    """

    sd: float
    freedom: int

    def margin(self) -> float:
        """Return how far one result may be below another without being worse, by a one-sided test at 5 %."""
        return float(t.ppf(0.95, self.freedom)) * math.sqrt(2) * self.sd


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Return the noise within groups of results; each group is of one setting. None if no group has two results."""
    spread = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    freedom = sum(count for _, count in spread)
    if not freedom:
        return None
    return Noise(math.sqrt(sum(variance * count for variance, count in spread) / freedom), freedom)


def measured_noise(trainings: Iterable[FinishedTraining]) -> Noise | None:
    """Return the noise of mAP50 on the validation split among trainings; None if none differ in the seed alone."""
    settings: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for training in trainings:
        setting = same({key: value for key, value in training.arguments.items() if key != "seed"})
        settings.setdefault(setting, {})[training.arguments["seed"]] = training.metrics["mAP50"]
    return noise([list(by_seed.values()) for by_seed in settings.values()])
