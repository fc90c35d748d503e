"""The tables of runs: baseline and grid, and the trials of the study."""

from __future__ import annotations

from collections.abc import Sequence

from stages.base.formatting import markdown_table, plain
from stages.decision.evidence import Evidence, Row
from stages.detector.as_is import AsIs
from stages.report.numbers import bold_if_best, fixed

SHOWN = 40  # trials in the report: more do not help a reader, and trials.csv has them all
STATES = ("complete", "pruned", "fail", "running")


def best_value(evidence: Evidence, as_is: AsIs | None) -> float:
    """Return the greatest mAP50 on the validation split of all complete runs; 0 without a run."""
    values = [row.value or 0.0 for row in [*evidence.complete, *evidence.compared]]
    return max([*values, *([as_is.validated] if as_is is not None else [])], default=0.0)


def compared_table(evidence: Evidence, as_is: AsIs | None) -> str:
    """Return the table of the pretrained model, the baseline and the grid; empty if there is none of them."""
    best, keys = best_value(evidence, as_is), evidence.keys
    cells = []
    if as_is is not None:
        point = [str(as_is.imgsz) if key == "imgsz" else "-" for key in keys]
        numbers = [bold_if_best(as_is.validated, best), fixed(as_is.tested), "0"]
        cells.append([as_is.name, "as is", *point, *numbers])
    for row in sorted(evidence.compared, key=lambda row: (row.source != "baseline", -(row.value or 0.0))):
        numbers = [bold_if_best(row.value, best), fixed(row.tested), fixed(row.seconds, 0)]
        cells.append([row.name, row.source, *(plain(row.point[key]) for key in keys), *numbers])
    head = ("run", "kind", *keys, "mAP50", "test mAP50", "seconds")
    return "\n".join(markdown_table(head, cells)) if cells else ""


def shown_trials(evidence: Evidence) -> list[Row]:
    """Return the trials by number; the best 40 if there are more."""
    if len(evidence.trials) <= SHOWN:
        return evidence.trials
    return sorted(evidence.trials, key=lambda row: (not row.is_complete, -(row.value or 0.0)))[:SHOWN]


def trials_table(evidence: Evidence, shown: Sequence[Row], best: float) -> str:
    """Return the table of these trials.

    Args:
        evidence: The study.
        shown: The trials, in the order of the table.
        best: The mAP50 that is set in bold.
    """
    keys = [key for key in evidence.keys if key != "epochs"]
    cells = []
    for row in shown:
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        if row.is_complete and (over := evidence.breaks(row)):
            state += f", breaks a limit: {over}"
        point = [plain(row.point[key]) for key in keys]
        value = bold_if_best(row.value, best) if row.is_complete else fixed(row.value)
        cost = fixed(row.seconds, 0), fixed(row.ms_per_image, 1)
        cells.append([str(row.number), row.name, row.source, state, _epochs(row), *point, value, *cost])
    head = ("trial", "run", "source", "state", "epochs", *keys, "mAP50", "seconds", "ms per image")
    return "\n".join(markdown_table(head, cells))


def _epochs(row: Row) -> str:
    """Return the epochs of a trial; of a pruned trial, how many of them it trained."""
    epochs = plain(row.point.get("epochs", row.epochs))
    if row.state == "pruned" and row.epochs is not None:
        return f"{row.epochs} of {epochs}" if "epochs" in row.point else f"{row.epochs}"
    return epochs


def state_counts(evidence: Evidence) -> str:
    """Return how many trials are in each state, as text."""
    counts = {state: sum(row.state == state for row in evidence.trials) for state in STATES}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
