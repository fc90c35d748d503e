"""Read the tables of a study as rows, and list what is missing in them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.tables import read_cell
from stages.experiments.names import OWN_SOURCES
from stages.params.resolution import resolved
from stages.params.schema import Limits
from stages.params.space import Dimension, Point, same

SMALL = 5  # trials: the best of fewer is little better than chance
CONFIRMED = ("role", "name", "seed", "mAP50", "test_mAP50", "seconds", "ms_per_image", "reason")  # confirmation.csv


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: The name of the run in DVC and MLflow.
        number: The number of the trial; None for a baseline or a grid point.
        source: As in trials.csv.
        state: complete, pruned, fail or running.
        value: mAP50 on the validation split, 0 to 1; the last one of a pruned trial. None if it was not measured.
        seconds: The time of the training.
        epochs: The number of trained epochs.
        point: The values of the searched parameters.
        tested: mAP50 on the test split, 0 to 1; None if it was not measured.
        reason: The reason of a failure; else empty.
        ms_per_image: Milliseconds for one image; None if it was not measured.
        model_mb: Megabytes of the weights; None if they are not known.
    """

    name: str
    number: int | None
    source: str
    state: str
    value: float | None
    seconds: float | None
    epochs: int | None
    point: Point
    tested: float | None = None
    reason: str = ""
    ms_per_image: float | None = None
    model_mb: float | None = None

    @property
    def is_complete(self) -> bool:
        return self.state == "complete" and self.value is not None

    @property
    def is_own(self) -> bool:
        """Return whether the study itself has trained it."""
        return self.source in OWN_SOURCES

    @property
    def costs(self) -> dict[str, float | None]:
        """The costs that a limit can hold, by the names of `tune.limits`; None for one that was not measured."""
        return {"ms_per_image": self.ms_per_image, "model_mb": self.model_mb, "train_seconds": self.seconds}

    @property
    def cost(self) -> tuple[int, float] | None:
        """The trained epochs and the seconds; None if one of them is not known."""
        return (self.epochs, self.seconds) if self.epochs is not None and self.seconds is not None else None


@dataclass(frozen=True)
class Checked:
    """A trial that was trained with a second seed.

    Attributes:
        number: The number of the trial.
        mean: The mean of its mAP50 on the validation split over both seeds.
    """

    number: int
    mean: float


@dataclass(frozen=True)
class Evidence:
    """A study and the runs that it is compared with.

    Attributes:
        study: The content of study.json.
        trials: All trials, by number.
        compared: The baseline and the grid points that share the study's fixed parameters.
        not_comparable: The other ones, each with the fixed parameters in which it differs.
        missing: The problems of the tables, one line each.
    """

    study: dict[str, Any]
    trials: list[Row]
    compared: list[Row]
    not_comparable: list[tuple[Row, Point]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The searched parameters; epochs and imgsz come first, because they decide the cost."""
        return sorted(self.study["space"], key=lambda key: key not in ("epochs", "imgsz"))

    @property
    def complete(self) -> list[Row]:
        return [row for row in self.trials if row.is_complete]

    @property
    def finished(self) -> list[Row]:
        """The complete and pruned trials that the study itself has trained, if their value and cost are known."""
        return [
            row
            for row in self.trials
            if row.is_own and row.state in ("complete", "pruned") and row.value is not None and row.cost
        ]

    @property
    def limits(self) -> Limits:
        """The limits of the study on the cost of a setting."""
        return Limits.of(self.study.get("limits", {}))

    def breaks(self, row: Row) -> str:
        """Return the limits that a training breaks, as text; empty if it keeps all."""
        return self.limits.broken(row.costs)

    @property
    def candidates(self) -> list[Row]:
        """The complete trials that keep the limits."""
        return [row for row in self.complete if not self.breaks(row)]

    @property
    def grid(self) -> list[Row]:
        return [row for row in self.compared if row.source == "grid"]

    @property
    def grid_with_cost(self) -> list[Row]:
        """The grid points whose value and cost are known."""
        return [row for row in self.grid if row.value is not None and row.cost]

    @property
    def best(self) -> Row | None:
        """The trial that the study calls its best; without its row, the candidate with the greatest mAP50 on the
        validation split, the first of equals. None if there is no candidate."""
        number = (self.study["best"] or {}).get("number")
        chosen = next((row for row in self.complete if row.number == number), None)
        return chosen or max(self.candidates, key=lambda row: row.value or 0.0, default=None)

    @property
    def second_seed(self) -> list[Checked]:
        """The trials that the study trained with a second seed."""
        second = self.study.get("second_seed", {})
        rows = [(row, second[str(row.number)]) for row in self.complete if str(row.number) in second]
        return [Checked(row.number or 0, ((row.value or 0.0) + value) / 2) for row, value in rows]

    @property
    def start(self) -> Point:
        """The searched parameters as params.yaml had them before the study: the baseline."""
        return dict(self.study["start"]["params"])

    def training_at(self, point: Mapping[str, Any]) -> Row | None:
        """Return the complete training with these parameters; None if there is none."""
        complete = [*self.complete, *self.compared]
        return next((row for row in complete if same(row.point) == same(point) and row.value is not None), None)

    @property
    def is_small(self) -> bool:
        """Return whether the study has so few trials that its best is little better than chance."""
        return len(self.finished) < SMALL


class Damaged(Failure):
    """study.json does not have the form that stage study writes."""


def read(folder: Path) -> Evidence | None:
    """Return the tables that stage study wrote; None if there is no study.

    A row that cannot be read is left out and listed in `missing`.

    Raises:
        Damaged: study.json cannot be read; the message gives the reason.
    """
    path = folder / "study.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        if study == {}:
            return None
        keys = [key for key, values in study["space"].items() if Dimension.model_validate(values)]
        _, _, _, _ = study["name"], study["data"], study["code"], study["trials"].get("complete")
        if best := study["best"]:
            _, _, _, _ = best["number"], best["name"], best["params"].items(), best["mAP50"]
        _, _, _ = study["start"]["params"].items(), study["start"]["mAP50"], study["fixed"].items()
        _, _ = study.get("importances", {}).items(), study.get("second_seed", {}).items()
        Limits.of(study.get("limits", {}))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"reports/study/study.json cannot be read ({type(error).__name__})") from error
    missing = [
        f"{name}: left out: {reason}" for name, reason in study.get("left_out", {}).get("unreadable", {}).items()
    ]
    trials = [row for row, _ in _rows(folder / "trials.csv", keys, missing)]
    compared, not_comparable = [], []
    for row, cells in _rows(folder / "compared.csv", keys, missing):
        other = _other_parameters(study["fixed"], cells)
        if other:
            not_comparable.append((row, other))
        else:
            compared.append(row)
    for row in trials:
        if row.state == "complete" and row.value is None:
            missing.append(f"trial {row.number} ({row.name}): complete, but without a metric")
        elif row.state in ("complete", "pruned") and row.is_own and row.cost is None:
            missing.append(f"trial {row.number} ({row.name}): its cost is not known")
    return Evidence(study, trials, compared, not_comparable, missing)


def _other_parameters(fixed: Mapping[str, Any], cells: Mapping[str, str]) -> Point:
    """Return the fixed parameters in which a run differs from the study, with the values of the run."""
    values = {key: read_cell(cells[key]) for key in fixed if key in cells}
    expected = resolved({**{key: read_cell(text) for key, text in cells.items()}, **fixed})
    return {key: value for key, value in values.items() if same({key: value}) != same({key: expected[key]})}


def _rows(path: Path, keys: Sequence[str], missing: list[str]) -> list[tuple[Row, dict[str, str]]]:
    """Return the rows of a table, each with its cells; add a line to `missing` for each row that cannot be read."""
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, cells in enumerate(csv.DictReader(file), start=2):
                try:
                    if None in cells:
                        raise ValueError("more cells than columns")
                    rows.append((_row(cells, keys), cells))
                except (LookupError, TypeError, ValueError):
                    missing.append(f"{path.name}, line {line}: this row cannot be read")
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        missing.append(f"{path.name}: cannot be read ({type(error).__name__})")
    return rows


def _row(cells: Mapping[str, str], keys: Sequence[str]) -> Row:
    """Return a row of trials.csv or of compared.csv, which has complete trainings only."""
    if "number" not in cells:
        point = {key: read_cell(cells[key]) for key in keys}
        value, seconds, tested = (_number(cells[key]) for key in ("mAP50", "seconds", "test_mAP50"))
        epochs = int(cells["epochs"])
        cost = _cost(cells)
        return Row(cells["name"], None, cells["source"], "complete", value, seconds, epochs, point, tested, "", *cost)
    speed, size = _cost(cells)
    return Row(
        name=cells["name"],
        number=int(cells["number"]),
        source=cells["source"],
        state=cells["state"],
        value=_number(cells["mAP50"]),
        seconds=_number(cells["seconds"]),
        epochs=int(cells["epochs_trained"]) if cells["epochs_trained"] else None,
        point={key: read_cell(cells[key]) for key in keys},
        reason=cells["reason"] or "",
        ms_per_image=speed,
        model_mb=size,
    )


def _cost(cells: Mapping[str, str]) -> tuple[float | None, float | None]:
    return _number(cells.get("ms_per_image", "")), _number(cells.get("model_mb", ""))


def _number(text: str) -> float | None:
    if not text:
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
