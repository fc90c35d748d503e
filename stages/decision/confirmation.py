"""The main settings of a study, and their repeats with other seeds.

The search uses one seed and the validation split, and its best is the best of many trials, so part of it is luck. The
search has seen neither the other seeds nor the test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stages.base.tables import write_table
from stages.decision.evidence import CONFIRMED, Evidence, Row
from stages.detector.as_is import AsIs
from stages.experiments.noise import Noise, noise
from stages.params.space import Point, same

CHEAPER = 0.9  # a setting is cheaper if its time is at most this share of the other: times vary by some percent

Role = Literal["as is", "baseline", "best", "cheapest"]


@dataclass(frozen=True)
class Setting:
    """Values of the searched parameters that are trained again.

    Attributes:
        role: `baseline` is the start of the study, `best` its best trial, and `cheapest` the cheapest trial within the
            noise of the best. `as is` is the pretrained model without training.
        run: The run in which the study measured these values; empty if there is none.
        point: The values of the searched parameters.
        validated: mAP50 of that run on the validation split, 0 to 1; None without a run.
        seconds: The time of its training; None if it is not known.
        breaks: The limits that this run breaks, as text; empty if it keeps all.
    """

    role: Role
    run: str
    point: Point
    validated: float | None
    seconds: float | None
    breaks: str = ""


@dataclass(frozen=True)
class Repeat:
    """A setting trained with another seed.

    Attributes:
        role: The role of the setting.
        name: The name of the run in DVC and MLflow.
        seed: The seed of the training.
        validated, tested: mAP50 on the validation split and on the test split, 0 to 1.
        seconds: The time of the training.
        ms_per_image: Milliseconds for one image; None if it was not measured.
        threshold: The operating point of the model, 0 to 1; None if it was not chosen.
        matches: The text of matches.csv; empty if it is missing or damaged.
        metrics: All metrics of its evaluation on the test split.
    """

    role: Role
    name: str
    seed: int
    validated: float
    tested: float
    seconds: float
    ms_per_image: float | None
    threshold: float | None = None
    matches: str = field(default="", repr=False)
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Splits:
    """The splits of repeats that each have their own.

    Attributes:
        folders: The prepared data of each seed. The first seed has the split of the search.
        overlap: Test images over training images; 0 if the splits share no image.
    """

    folders: Mapping[int, Path]
    overlap: float

    @property
    def first(self) -> int:
        """The seed whose repeats have the split of the search."""
        return min(self.folders)


@dataclass(frozen=True)
class Confirmation:
    """The settings of a study, trained again.

    Attributes:
        settings: The baseline, the best, and the cheapest if there is one; the best alone if it is the baseline.
        repeats: By setting and seed.
        failed: The reasons for missing repeats, by the names of their runs.
        splits: The splits of the repeats; None if all have the split of the search.
    """

    settings: list[Setting]
    repeats: list[Repeat]
    failed: Mapping[str, str]
    splits: Splits | None = None

    @property
    def overlap(self) -> float | None:
        """Test images over training images, if the repeats have other splits of the same images; else None."""
        return self.splits.overlap if self.splits else None

    def of(self, role: Role) -> list[Repeat]:
        """Return the repeats of a setting."""
        return [repeat for repeat in self.repeats if repeat.role == role]

    def noise(self) -> Noise | None:
        """Return the noise between seeds on the validation split, which the search compares; None without pairs."""
        roles = {repeat.role for repeat in self.repeats}
        return noise([[repeat.validated for repeat in self.of(role)] for role in sorted(roles)])


def first_settings(evidence: Evidence) -> list[Setting]:
    """Return the baseline and the best; the best alone if they are the same, nothing without a best."""
    best = evidence.best
    if best is None:
        return []
    if same(best.point) == same(evidence.start):
        return [_setting("best", best, evidence)]
    start = evidence.training_at(evidence.start)
    baseline = _setting("baseline", start, evidence) if start else Setting("baseline", "", evidence.start, None, None)
    return [baseline, _setting("best", best, evidence)]


def cheapest_setting(evidence: Evidence, settings: Sequence[Setting], within: Noise | None) -> Setting | None:
    """Return the cheapest trial within the noise of the best; None if it saves too little or is one of the settings."""
    best = evidence.best
    if best is None or best.value is None or best.seconds is None or within is None:
        return None
    near = [row for row in evidence.candidates if row.seconds and (row.value or 0.0) >= best.value - within.margin()]
    cheapest = min(near, key=lambda row: row.seconds or 0.0, default=None)
    if cheapest is None or (cheapest.seconds or 0.0) > CHEAPER * best.seconds:
        return None
    if any(same(cheapest.point) == same(setting.point) for setting in settings):
        return None
    return _setting("cheapest", cheapest, evidence)


def _setting(role: Role, row: Row, evidence: Evidence) -> Setting:
    return Setting(role, row.name, row.point, row.value, row.seconds, evidence.breaks(row))


def table(confirmation: Confirmation | None, as_is: AsIs | None = None) -> str:
    """Return confirmation.csv: a row for the pretrained model without training, if any, and a row for each repeat.

    Columns: role; name (of the run in DVC and MLflow); seed (empty without training); mAP50 on the validation split and
    test_mAP50 (0 to 1); seconds of training; ms_per_image; reason (of a failure).
    """
    rows: list[list[Any]] = []
    if as_is is not None:
        rows.append(["as is", as_is.name, None, as_is.validated, as_is.tested, 0.0, as_is.ms_per_image, None])
    for repeat in confirmation.repeats if confirmation else ():
        numbers = (repeat.seed, repeat.validated, repeat.tested, repeat.seconds, repeat.ms_per_image)
        rows.append([repeat.role, repeat.name, *numbers, None])
    for name, reason in (confirmation.failed if confirmation else {}).items():
        rows.append([None, name, *[None] * 5, reason])
    return write_table(CONFIRMED, rows)
