"""Draw the figures of the decision report as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stages.base.formatting import plain, words
from stages.decision.confirmation import Confirmation
from stages.decision.evidence import Evidence, Row
from stages.decision.significance import Interval
from stages.decision.verdict import Decision
from stages.experiments.noise import Noise
from stages.report.best_so_far import Band, Curve
from stages.report.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKS,
    ORANGE,
    RED,
    SKY,
    TEST,
    VALIDATION,
    Axes,
    Figure,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    label_axes,
    legend,
    png,
)
from stages.report.importance import Effect


def progress(curves: Mapping[str, Mapping[str, Curve]], bands: Mapping[str, Band], start: float | None) -> bytes:
    """Draw the best value so far against its cost, with a panel for each kind of cost.

    Args:
        curves: By the name of the cost, then by method: `Optuna`, and `grid` if a grid ran.
        bands: The predicted random searches, by the name of the cost.
        start: The value of the baseline; None if it was not measured.
    """
    costs = list(curves)
    figure = Figure(figsize=(12.5, 5.2), layout="constrained")
    axes = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    styles = {"Optuna": (BLUE, "-", "o"), "grid": (ORANGE, "--", "s")}
    for axis, cost in zip(axes, costs, strict=True):
        band = bands[cost]
        axis.fill_between(band.cost, band.low, band.high, color=GREY, alpha=0.25, linewidth=0)
        axis.plot(band.cost, band.mean, color=GREY, linestyle=":", linewidth=2.5, label="random search, predicted")
        for name, curve in curves[cost].items():
            colour, line, mark = styles[name]
            every = max(1, len(curve.cost) // 25)
            axis.step(
                curve.cost, curve.best, where="post", color=colour, linestyle=line, marker=mark, markevery=every,
                linewidth=2.5, label=name,
            )  # fmt: skip
        if start is not None:
            axis.axhline(start, color=BLACK, linestyle="-.", linewidth=1.5, label="baseline")
        label_axes(axis, cost, VALIDATION if axis is axes[0] else "")
        axis.set_xlim(left=0)
    axes[0].set_title("Best mAP50 so far at equal cost", loc="left", fontsize=15)
    legend(figure, axes[-1])
    return png(figure)


def slices(evidence: Evidence, noise: Noise | None) -> bytes:
    """Draw each trial against each searched parameter. The grey band is the noise between seeds below the best."""
    keys = evidence.keys
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(12.5, 1.0 + 3.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    best = evidence.best
    complete = evidence.complete
    pruned = [row for row in evidence.finished if row.state == "pruned"]
    for axis, key in zip(axes, keys, strict=False):
        places, ticks = _places(key, [*complete, *pruned])
        alpha = 0.8 if len(complete) < 200 else 0.3
        if best is not None and best.value is not None and noise is not None:
            low = best.value - noise.margin()
            axis.axhspan(low, best.value, color=GREY, alpha=0.25, linewidth=0, label="within the noise of the best")
        for rows_, mark, colour, face, name in (
            (complete, "o", BLUE, BLUE, "complete"),
            (pruned, "v", RED, "none", "pruned"),
        ):
            x, y = [places(row.point[key]) for row in rows_], [row.value for row in rows_]
            axis.scatter(x, y, marker=mark, edgecolors=colour, facecolors=face, s=55, alpha=alpha, label=name)
        if best is not None:
            at = [places(best.point[key])], [best.value]
            axis.scatter(*at, marker="*", s=330, color=ORANGE, edgecolors=BLACK, label="best", zorder=3)
        if ticks is not None:
            axis.set_xticks(range(len(ticks)), ticks)
            axis.margins(x=0.15)
        elif evidence.study["space"][key].get("log"):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        elif all(isinstance(row.point[key], int) for row in complete):
            axis.xaxis.get_major_locator().set_params(integer=True)
        label_axes(axis, key, VALIDATION if axis in axes[::columns] else "")
    for axis in axes[len(keys) :]:
        axis.axis("off")
    legend(figure, axes[0])
    return png(figure)


def _places(key: str, rows: Sequence[Row]) -> tuple[Any, list[str] | None]:
    """Return the function that places a value on its axis, and the tick labels if values are few or not numbers."""
    values = [row.point.get(key) for row in rows]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 3:
        return float, None
    names = sorted({plain(value) for value in values}, key=lambda name: (not _is_number(name), _number(name), name))
    return (lambda value: names.index(plain(value))), names


def _is_number(name: str) -> bool:
    return name.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _number(name: str) -> float:
    return float(name) if _is_number(name) else 0.0


def importance(effects: Sequence[Effect]) -> bytes:
    """Draw the importance of each parameter, and the difference between its groups with the limits of chance."""
    figure = Figure(figsize=(12.5, 2.0 + 0.55 * len(effects)), layout="constrained")
    left, right = figure.subplots(1, 2)
    order = sorted(effects, key=lambda effect: effect.importance or 0.0)
    names = [effect.key for effect in order]
    bars = left.barh(names, [effect.importance or 0.0 for effect in order], color=BLUE)
    labels = [f"{effect.importance:.2f}" if effect.importance is not None else "?" for effect in order]
    left.bar_label(bars, labels, fontsize=12)
    left.set_xlim(0, 1.1)
    label_axes(left, "importance (PED-ANOVA; the sum is 1)", "")
    differences = [effect.difference for effect in order]
    right.barh(names, differences, color=SKY, edgecolor=BLACK, label="best group minus worst group")
    for place, effect in enumerate(order):
        for limit, colour, style, name in (
            (effect.seed_limit, RED, "-", "seed limit (seeds alone)"),
            (effect.chance_limit, BLACK, ":", "chance limit (seeds and other parameters)"),
        ):
            if limit is not None:
                ends = [place - 0.4, place + 0.4]
                label = name if place == len(order) - 1 else None
                right.plot([limit] * 2, ends, color=colour, linestyle=style, linewidth=3, label=label)
    label_axes(right, "difference in mAP50, validation split", "")
    legend(figure, right)
    for axis in (left, right):
        axis.grid(axis="y", visible=False)
    return png(figure)


def confirmation(confirmed: Confirmation, decision: Decision) -> bytes:
    """Draw each repeat on the test split, with lines between those of one seed, and the means with their intervals."""
    roles = [setting.role for setting in confirmed.settings if setting.role in decision.results]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axis = figure.subplots()
    ends: dict[int, tuple[int, float]] = {}
    for seed in sorted({repeat.seed for repeat in confirmed.repeats}):
        points = [
            (place, repeat.tested)
            for place, role in enumerate(roles)
            for repeat in confirmed.of(role)
            if repeat.seed == seed
        ]
        axis.plot(*zip(*points, strict=True), color=GREY, linewidth=1.2, zorder=1)
        ends[seed] = points[-1]
    tested = [decision.results[role].tested for role in roles]
    intervals = [estimate.seeds for estimate in tested] + [it.images.limits for it in tested if it.images is not None]
    limits = [limit for interval in intervals for limit in (interval.low, interval.high)]
    values = [repeat.tested for repeat in confirmed.repeats] + [limit for limit in limits if math.isfinite(limit)]
    if (as_is := decision.results.get("as is")) is not None:
        values.append(as_is.tested.mean)
        axis.axhline(as_is.tested.mean, color=GREEN, linestyle="--", linewidth=2, label="as is, without training")
    room = 0.1 * max(max(values) - min(values), 0.01)
    height = -math.inf
    for seed, (place, value) in sorted(ends.items(), key=lambda item: item[1]):  # labels must not overlap
        height = max(value, height + 0.6 * room) if place == len(roles) - 1 else value
        axis.annotate(f"seed {seed}", (place, height), xytext=(12, -4), textcoords="offset points", fontsize=11)
    for place, role in enumerate(roles):
        mark, colour = MARKS[role]
        estimate = decision.results[role].tested
        repeats = [repeat.tested for repeat in confirmed.of(role)]
        axis.scatter([place] * len(repeats), repeats, marker=mark, color=colour, s=80, zorder=2)
        if estimate.n > 1:
            _bar(axis, place, estimate.mean, estimate.seeds, "over seeds")
        if estimate.images is not None:
            _bar(axis, place, estimate.mean, estimate.images.limits, "over test images")
    if axis.get_legend_handles_labels()[1]:
        legend(figure, axis)
    axis.set_ylim(max(min(values) - room, -0.02), max(min(max(values) + room, 1.02), height + room))
    labels = [f"{role}\n{_wrapped(decision.results[role].setting.point)}" for role in roles]
    axis.set_xticks(range(len(roles)), labels)
    axis.set_xlim(-0.5, len(roles) - 0.4)
    label_axes(axis, "", TEST)
    axis.set_title("Repeats with other seeds: each result, and the mean with its intervals", loc="left", fontsize=15)
    return png(figure)


def _bar(axis: Axes, place: int, mean: float, interval: Interval, name: str) -> None:
    """Draw an interval and its mean to the left of the results at a place of the axis."""
    left, colour = (0.12, BLACK) if name == "over seeds" else (0.24, RED)
    below, above = max(0.0, mean - interval.low), max(0.0, interval.high - mean)
    label = f"95 % interval {name}" if not place else None
    bar = axis.errorbar(
        place - left,
        mean,
        [[below], [above]],
        color=colour,
        marker="_",
        capsize=8,
        linewidth=3,
        markersize=18,
        label=label,
    )
    bar.lines[2][0].set_linestyle("-" if name == "over seeds" else ":")


def _wrapped(point: Mapping[str, Any]) -> str:
    """Return the values of a setting, two on each line."""
    keys = list(point)
    return "\n".join(words({key: point[key] for key in keys[at : at + 2]}) for at in range(0, len(keys), 2))
