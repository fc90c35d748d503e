"""What a report is made of: the tables of a study as rows, whatever is missing in them told by name."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.params.resolution import resolved
from stages.params.space import Dimension, Point, same

SMALL = 10  # trials, of which the first five are drawn at random
CONFIRMED = ("role", "name", "seed", "mAP50", "test_mAP50", "seconds", "ms_per_image", "reason")  # confirmation.csv
SEARCHED_BY = ("sampler", "enqueued")  # sources of trials that the study itself has trained


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: Its run, in DVC and MLflow.
        number: Of the trial; None where it is none.
        source: As in trials.csv.
        state: complete, pruned, fail or running.
        value: mAP50 on the validation split, 0 to 1; of a pruned trial its last.
        seconds: Of training.
        epochs: That were trained.
        point: The searched keys.
        tested: mAP50 on the test split, where it was measured.
        reason: Why it failed.
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

    @property
    def is_complete(self) -> bool:
        return self.state == "complete" and self.value is not None

    @property
    def is_own(self) -> bool:
        """Whether the study has trained it."""
        return self.source in SEARCHED_BY

    @property
    def cost(self) -> tuple[int, float] | None:
        """Epochs and seconds that it took, where both are known."""
        return (self.epochs, self.seconds) if self.epochs is not None and self.seconds is not None else None


@dataclass(frozen=True)
class Evidence:
    """A study and what it is compared with.

    Attributes:
        study: The content of study.json.
        trials: Every trial, by number.
        compared: The baseline and the points of grids, with the other keys as the study has them.
        apart: Those that differ from the study in other keys, and these; they are compared with nothing.
        missing: What could not be read, a line each.
    """

    study: dict[str, Any]
    trials: list[Row]
    compared: list[Row]
    apart: list[tuple[Row, Point]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The searched keys; epochs and imgsz, which cost most, first."""
        return sorted(self.study["space"], key=lambda key: key not in ("epochs", "imgsz"))

    @property
    def complete(self) -> list[Row]:
        return [row for row in self.trials if row.is_complete]

    @property
    def finished(self) -> list[Row]:
        """Trials that the study has trained, to their end or until they were stopped, with a value and a cost."""
        return [
            row
            for row in self.trials
            if row.is_own and row.state in ("complete", "pruned") and row.value is not None and row.cost
        ]

    @property
    def grid(self) -> list[Row]:
        return [row for row in self.compared if row.source == "grid"]

    @property
    def best(self) -> Row | None:
        """The complete trial with the greatest mAP50 on the validation split; of equals, the first."""
        return max(self.complete, key=lambda row: row.value or 0.0, default=None)

    @property
    def start(self) -> Point:
        """The searched keys of params.yaml before the study."""
        return dict(self.study["start"]["params"])

    def named(self, point: Mapping[str, Any]) -> Row | None:
        """The complete training at a point, if there is one."""
        complete = [*self.complete, *self.compared]
        return next((row for row in complete if same(row.point) == same(point) and row.value is not None), None)

    @property
    def is_small(self) -> bool:
        """Whether the sampler had hardly begun to model when the study ended."""
        return len(self.finished) < SMALL


class Damaged(Failure):
    """study.json is not of the form that stage study writes."""


def read(folder: Path) -> Evidence | None:
    """What stage study wrote; None where no study was made.

    Rows that cannot be read are left out and told in `missing`.

    Raises:
        Damaged: study.json cannot be read; the line says why.
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
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"reports/study/study.json cannot be read ({type(error).__name__})") from error
    missing = [f"{name}: left out: {why}" for name, why in study.get("left_out", {}).get("unreadable", {}).items()]
    trials = [row for row, _ in _rows(folder / "trials.csv", keys, missing)]
    compared, apart = [], []
    for row, cells in _rows(folder / "compared.csv", keys, missing):
        other = _other(study["fixed"], cells)
        if other:
            apart.append((row, other))
        else:
            compared.append(row)
    for row in trials:
        if row.state == "complete" and row.value is None:
            missing.append(f"trial {row.number} ({row.name}): complete, but without a metric")
        elif row.state in ("complete", "pruned") and row.is_own and row.cost is None:
            missing.append(f"trial {row.number} ({row.name}): its cost is not known")
    return Evidence(study, trials, compared, apart, missing)


def _other(fixed: Mapping[str, Any], cells: Mapping[str, str]) -> Point:
    """The keys that a study does not search in which a run differs from it, as the run has them."""
    found = {key: _value(cells[key]) for key in fixed if key in cells}
    there = resolved({**{key: _value(text) for key, text in cells.items()}, **fixed})
    return {key: value for key, value in found.items() if same({key: value}) != same({key: there[key]})}


def _rows(path: Path, keys: Sequence[str], missing: list[str]) -> list[tuple[Row, dict[str, str]]]:
    """The rows of a table, each with its cells."""
    rows = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, cells in enumerate(csv.DictReader(file), start=2):
                try:
                    rows.append((_row(cells, keys), cells))
                except (LookupError, TypeError, ValueError):
                    missing.append(f"{path.name}, line {line}: not of the form that this report reads")
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        missing.append(f"{path.name}: cannot be read ({type(error).__name__})")
    return rows


def _row(cells: Mapping[str, str], keys: Sequence[str]) -> Row:
    """A row of trials.csv or of compared.csv, which holds complete trainings alone."""
    if "number" not in cells:
        point = {key: _value(cells[key]) for key in keys}
        value, seconds, tested = (_number(cells[key]) for key in ("mAP50", "seconds", "test_mAP50"))
        epochs = int(cells["epochs"])
        return Row(cells["name"], None, cells["source"], "complete", value, seconds, epochs, point, tested)
    return Row(
        name=cells["name"],
        number=int(cells["number"]),
        source=cells["source"],
        state=cells["state"],
        value=_number(cells["mAP50"]),
        seconds=_number(cells["seconds"]),
        epochs=int(cells["epochs_trained"]) if cells["epochs_trained"] else None,
        point={key: _value(cells[key]) for key in keys},
        reason=cells["reason"] or "",
    )


def _number(text: str) -> float | None:
    if not text:
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _value(text: str) -> Any:
    """A value of params.yaml from its text in a table; a map or a list stands there as JSON."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float, json.loads):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
