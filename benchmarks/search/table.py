"""Recorded tables of real trainings, and the results of points between those that were trained."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base.tables import read_cell

TABLES = Path(__file__).parent / "tables"
Row = dict[str, Any]
Floats = NDArray[np.float64]
NEAREST = 12  # repeats among which the noise of a result is drawn
TEXTS = ("data", "code")  # columns of digests, which may look like numbers


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: cell if name in TEXTS else read_cell(cell) for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


class Incomplete(Exception):
    """Not every point of a table was trained yet."""


@dataclass(frozen=True)
class Result:
    """The result of a training.

    Attributes:
        curve: mAP50 on the validation split after each epoch, 0 to 1, shape (epochs,).
        end: mAP50 of the trained model.
    """

    curve: Floats
    end: float


class Table:
    """A recorded table. Between its values of a continuous key, results are interpolated linearly.

    Attributes:
        axes: The values of each searched key, ascending.
        best: The greatest `end` of all points.
    """

    def __init__(self, path: Path, continuous: Mapping[str, bool], noise: Table | None = None) -> None:
        """Read a table.

        Args:
            path: The CSV file.
            continuous: The keys between whose values results are interpolated, each with whether it is logarithmic.
            noise: A table whose repeats give the noise if this table has none of its own.

        Raises:
            FileNotFoundError: The file does not exist.
            Incomplete: Not every point was trained yet.
        """
        self._continuous, self._other = continuous, noise
        rows = read_rows(path)
        self.keys = [key for key in rows[0] if key not in ("seed", "mAP50", "curve", "seconds", *TEXTS)]
        self.axes = {key: sorted({row[key] for row in rows}) for key in self.keys}
        self._seeds: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            self._seeds.setdefault(tuple(row[key] for key in self.keys), []).append(row)
        missing = [point for point in product(*self.axes.values()) if point not in self._seeds]
        if missing:
            raise Incomplete(f"{path.name} is not complete: {len(missing)} points are missing, such as {missing[0]}")
        self._results = {point: _mean(seeds) for point, seeds in self._seeds.items()}
        self.best = max(result.end for result in self._results.values())
        self._times = self._fitted_times()

    def result(self, point: Mapping[str, Any]) -> Result:
        """Return the mean result at a point, over the seeds that were trained."""
        corners = [self._neighbours(key, point[key]) for key in self.keys]
        curve, end = np.zeros(point["epochs"]), 0.0
        for corner in product(*corners):
            weight = float(np.prod([share for _, share in corner]))
            result = self._results[tuple(value for value, _ in corner)]
            curve, end = curve + weight * result.curve, end + weight * result.end
        return Result(curve, end)

    def seconds(self, point: Mapping[str, Any], epochs: int) -> float:
        """Return the time of so many epochs at a point, with its start, on an idle core."""
        start, epoch = self._times[tuple(point[key] for key in self.keys if key in ("imgsz", "batch"))]
        return start + epoch * epochs

    def noisy(self, result: Result, random: np.random.Generator) -> Result:
        """Return a result with the difference that another seed makes, drawn from the repeated points.

        The noise depends on the level: it is largest where a training is in its steepest part. So the difference is
        that of one of the NEAREST repeats by level, at the same shares of the training.
        """
        if not self._residuals:
            return result
        nearest = sorted(self._residuals, key=lambda repeat: abs(repeat[0] - result.end))[:NEAREST]
        _, residual = nearest[random.integers(len(nearest))]
        shares = np.arange(1, len(result.curve) + 1) / len(result.curve)
        known = np.arange(1, len(residual.curve) + 1) / len(residual.curve)
        curve = result.curve + np.interp(shares, known, residual.curve)
        return Result(np.clip(curve, 0, 1), float(np.clip(result.end + residual.end, 0, 1)))

    @cached_property
    def _residuals(self) -> list[tuple[float, Result]]:
        """The differences of repeated points from their means, scaled to be unbiased, each with the level."""
        residuals = []
        for seeds in (rows for rows in self._seeds.values() if len(rows) > 1):
            mean, scale = _mean(seeds), (len(seeds) / (len(seeds) - 1)) ** 0.5
            for row in seeds:
                curve = (np.array(row["curve"]) - mean.curve) * scale
                residuals.append((mean.end, Result(curve, (row["mAP50"] - mean.end) * scale)))
        return residuals or (self._other._residuals if self._other is not None else [])

    def _neighbours(self, key: str, value: Any) -> list[tuple[Any, float]]:
        """Return the values of a key in the table next to a value, each with its weight."""
        axis = self.axes[key]
        if key not in self._continuous or len(axis) == 1:
            return [(value, 1.0)]
        scale = np.log if self._continuous[key] else np.asarray
        place = float(np.interp(scale(value), scale(axis), range(len(axis))))
        low = min(int(place), len(axis) - 2)
        pair = [(axis[low], 1 - (place - low)), (axis[low + 1], place - low)]
        return [(value, share) for value, share in pair if share > 0]

    def _fitted_times(self) -> dict[tuple[Any, ...], tuple[float, float]]:
        """Return the seconds of the start and of an epoch, by imgsz and batch.

        Other work on the machine only adds time, so each number of epochs counts with its fastest quarter.
        """
        groups: dict[tuple[Any, ...], dict[int, list[float]]] = {}
        for point, seeds in self._seeds.items():
            values = dict(zip(self.keys, point, strict=True))
            group = groups.setdefault(tuple(values[key] for key in self.keys if key in ("imgsz", "batch")), {})
            group.setdefault(values["epochs"], []).extend(row["seconds"] for row in seeds)
        times = {}
        for key, group in groups.items():
            epochs = np.array(sorted(group), float)
            fast = np.array([np.quantile(group[int(epoch)], 0.25) for epoch in epochs])
            epoch, start = np.polyfit(epochs, fast, 1) if len(epochs) > 1 else (fast[0] / epochs[0], 0.0)
            times[key] = (max(float(start), 0.0), float(epoch))
        return times


def _mean(seeds: Sequence[Row]) -> Result:
    return Result(np.mean([row["curve"] for row in seeds], axis=0), float(np.mean([row["mAP50"] for row in seeds])))
