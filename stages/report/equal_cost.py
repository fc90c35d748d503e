"""Compare Optuna, the grid and a predicted random search at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.base.formatting import markdown_table
from stages.decision.evidence import Evidence, Row
from stages.params.space import Point
from stages.report import random_search
from stages.report.best_so_far import Band, Curve, curve
from stages.report.random_search import Model

EPOCHS, SECONDS = "epochs x images", "seconds of training"


@dataclass(frozen=True)
class EqualCost:
    """The best mAP50 so far by cost.

    Attributes:
        curves: By the name of the cost, then by method: `Optuna`, and `grid` if a grid ran.
        bands: The predicted random searches, by the name of the cost.
        model: The model that predicts them.
        marks: The costs in the table, by the name of the cost, then by their meaning.
    """

    curves: Mapping[str, Mapping[str, Curve]]
    bands: Mapping[str, Band]
    model: Model
    marks: Mapping[str, Mapping[str, float]]

    def table(self) -> str:
        """Return the table of the best mAP50 at each marked cost."""
        cells = []
        for cost, marks in self.marks.items():
            for meaning, spent in marks.items():
                band = self.bands[cost].at(spent)
                random = f"{band[1]:.3f} ({band[0]:.3f} to {band[2]:.3f})" if band else "-"
                best = [_best_at(self.curves[cost].get(method), spent) for method in ("Optuna", "grid")]
                cells.append([cost, f"{spent:,.0f} ({meaning})", *best, random])
        return "\n".join(markdown_table(("cost", "spent", "Optuna", "grid", "random search, predicted"), cells))


def compare(evidence: Evidence, images: int) -> EqualCost:
    """Return the curves of a study and of a grid, and the band of random searches.

    Args:
        evidence: A study that has finished at least one trial itself.
        images: The number of images in the train split.
    """
    own_trials, grid = evidence.finished, evidence.grid_with_cost
    methods = {"Optuna": own_trials, **({"grid": grid} if grid else {})}
    model = random_search.fit(evidence)
    costs = {EPOCHS: model.epochs * max(images, 1), SECONDS: model.seconds}
    curves: dict[str, dict[str, Curve]] = {}
    bands: dict[str, Band] = {}
    marks: dict[str, dict[str, float]] = {}
    for cost, of_points in costs.items():
        curves[cost] = {
            name: curve(_costs(rows, cost, images), _values(evidence, rows)) for name, rows in methods.items()
        }
        total = float(curves[cost]["Optuna"].cost[-1])
        marks[cost] = {"the whole grid": float(curves[cost]["grid"].cost[-1])} if grid else {}
        marks[cost] |= {"half of the study": total / 2, "the whole study": total}
        bands[cost] = model.searches(of_points, max(marks[cost].values()), list(marks[cost].values()))
    return EqualCost(curves, bands, model, marks)


def grid_values_from_study(evidence: Evidence) -> Point:
    """Return the values that every grid point shares with the best trial, and that differ from the baseline."""
    best = evidence.best
    if best is None or not best.is_own or not evidence.grid:
        return {}
    return {
        key: value
        for key, value in best.point.items()
        if value != evidence.start.get(key) and all(row.point[key] == value for row in evidence.grid)
    }


def _best_at(method: Curve | None, spent: float) -> str:
    """Return the best value at a cost, with the method's whole cost if that was less."""
    value = method.at(spent) if method is not None else None
    if method is None or value is None:
        return "-"
    end = float(method.cost[-1])
    return f"{value:.3f} (ended at {end:,.0f})" if spent > end * (1 + 1e-6) else f"{value:.3f}"


def _costs(rows: Sequence[Row], cost: str, images: int) -> list[float]:
    return [float((row.epochs or 0) * max(images, 1) if cost == EPOCHS else row.seconds or 0.0) for row in rows]


def _values(evidence: Evidence, rows: Sequence[Row]) -> list[float]:
    """Return the values of trainings: 0 for one that breaks a limit, because it cannot become the best."""
    return [0.0 if evidence.breaks(row) else row.value or 0.0 for row in rows]
