"""Draw the results of the trials against their costs."""

from __future__ import annotations

from collections.abc import Sequence

from stages.decision.evidence import Evidence
from stages.decision.verdict import Decision
from stages.experiments.noise import Noise
from stages.report.drawing import BLACK, GREEN, GREY, MARKS, RED, SKY, VALIDATION, Axes, Figure, label_axes, legend, png

COSTS = {"seconds": "seconds of training", "ms_per_image": "milliseconds per image"}
LIMITED = {"seconds": "train_seconds", "ms_per_image": "ms_per_image"}  # the limit of each cost in params.yaml


def tradeoff(evidence: Evidence, decision: Decision | None, noise: Noise | None) -> bytes:
    """Draw the result of each trial against the seconds of its training, and against its milliseconds per image.

    A line joins the trials that no other one beats in both (the Pareto front).
    """
    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    best = evidence.best
    for axis, (cost, title) in zip(axes, COSTS.items(), strict=True):
        complete = [row for row in evidence.complete if getattr(row, cost)]
        if best is not None and best.value is not None and noise is not None:
            low = best.value - noise.margin()
            axis.axhspan(low, best.value, color=GREY, alpha=0.25, linewidth=0, label="within the noise of the best")
        for is_grid, mark, colour, name in ((False, "o", SKY, "trials"), (True, "s", GREEN, "grid")):
            rows = [row for row in complete if (row.source == "grid") == is_grid]
            if rows:
                x, y = [getattr(row, cost) for row in rows], [row.value for row in rows]
                axis.scatter(x, y, marker=mark, color=colour, edgecolors=BLACK, s=60, alpha=0.7, label=name)
        front = pareto_front([(getattr(row, cost), row.value or 0.0) for row in complete])
        if front:
            axis.step(*zip(*front, strict=True), where="post", color=BLACK, linestyle=":", linewidth=2, label="front")
        _mark_settings(axis, evidence, decision, cost)
        limit = evidence.limits.active().get(LIMITED[cost])
        if limit is not None:
            axis.axvline(limit, color=RED, linestyle="--", linewidth=2, label="limit")
        axis.set_xlim(left=0)
        label_axes(axis, title, VALIDATION if axis is axes[0] else "")
    legend(figure, *axes)
    axes[0].set_title("Result and cost of each trial", loc="left", fontsize=15)
    return png(figure)


def _mark_settings(axis: Axes, evidence: Evidence, decision: Decision | None, cost: str) -> None:
    """Mark the trials of the confirmed settings, and with a star the one of the recommended setting."""
    recommended = decision.recommended if decision else None
    runs = {row.name: row for row in [*evidence.compared, *evidence.trials]}
    for role, result in (decision.results if decision else {}).items():
        row = runs.get(result.setting.run)
        place = getattr(row, cost) if row is not None else None
        if row is None or row.value is None or place is None:
            continue
        mark, colour = MARKS[role]
        axis.scatter([place], [row.value], marker=mark, s=260, facecolors="none", edgecolors=colour, linewidths=3,
                     label=role, clip_on=False)  # fmt: skip
        if result is recommended:
            axis.scatter([place], [row.value], marker="*", s=200, color=RED, zorder=3, label="recommended")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of (cost, value) that no other point beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
