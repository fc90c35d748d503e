"""The comparison of all runs as text: for a terminal, as a page in Markdown, and as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from stages.experiments.comparison import HEADERS, Comparison, Run
from stages.params.schema import GROUPS

ON_TERMINAL = 40  # rows
ON_PAGE = 100  # rows
MARKED = ("val_mAP50", "test_mAP50")  # the columns in which the best number is marked

GRID = "`dvc exp run --queue -S epochs=3,5 -S imgsz=128,160`, then `dvc queue start`"


def terminal(comparison: Comparison, width: int) -> str:
    """Return the first rows as a table for a terminal, with a `*` at the best numbers, and notes below the table.

    Args:
        comparison: The runs.
        width: Columns of the terminal; 100 are enough.
    """
    notes = _notes(comparison, ON_TERMINAL)
    if not comparison.runs:
        return "\n".join(notes)
    rows = _rows(comparison.runs, ON_TERMINAL, "*{}")
    headers = [header.replace(" ", "\n") for header in HEADERS.values()]  # two lines each, to be narrow
    used = sum(max(len(cell) for cell in column) + 2 for column in list(zip(*rows, strict=True))[:2])
    used += sum(max(len(line) for line in header.split("\n")) + 4 for header in headers)  # two of them for tabulate
    return "\n".join([_table(rows, headers, "simple", max(12, width - used)), "", *notes])


def markdown(comparison: Comparison) -> str:
    """Return a page in Markdown: the first rows, the best numbers in bold, and notes below the table."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in _rows(comparison.runs, ON_PAGE, "**{}**")]
    notes = "".join(f"- {note}\n" for note in _notes(comparison, ON_PAGE))
    return f"# All runs\n\n{_table(rows, list(HEADERS.values()), 'pipe', None)}\n\n{notes}"


def comma_separated(comparison: Comparison) -> str:
    """Return all rows with full precision, one column for each training key; an empty cell is a missing value."""
    keys = list(dict.fromkeys(key for run in comparison.runs for key in run.params if key.split(".")[0] not in GROUPS))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "kind", "varies", *HEADERS, *keys])
    for run in comparison.runs:
        numbers = ["" if run.numbers[name] is None else run.numbers[name] for name in HEADERS]
        params = [_text(run.params[key], "") if key in run.params else "" for key in keys]
        writer.writerow([run.name, run.kind, varies(run, ""), *numbers, *params])
    return text.getvalue()


def varies(run: Run, form: str = ".4g") -> str:
    """Return the changes of a run as text: `epochs 5, lr0 0.002`, or `-`; `form` is the format of floats."""
    return ", ".join(f"{key} {_text(value, form)}" for key, value in run.changes.items()) or "-"


def _text(value: Any, form: str) -> str:
    """Return a value as it is written in params.yaml."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(_text(part, form) for part in value)}]"
    return format(value, form) if isinstance(value, float) else str(value)


def _rows(runs: Sequence[Run], most: int, mark: str) -> list[list[str]]:
    """Return the cells of the first runs, and of the baseline even if it is not among them."""
    best = {name: max((run.numbers[name] or 0 for run in runs), default=0) for name in MARKED}

    def cell(run: Run, name: str) -> str:
        value = run.numbers[name]
        if value is None:
            return "-"
        text = f"{value:.3f}" if "mAP50" in name else f"{value:.1f}"
        return mark.format(text) if value == best.get(name) else text

    shown = [run for place, run in enumerate(runs) if place < most or run.kind == "baseline"]
    return [[run.name, run.kind, varies(run), *(cell(run, name) for name in HEADERS)] for run in shown]


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], form: str, wrapped: int | None) -> str:
    return tabulate(
        rows,
        ["run", "kind", "varies", *headers],
        form,
        disable_numparse=True,
        colalign=["left"] * 3 + ["right"] * len(headers),
        maxcolwidths=[None, None, wrapped],
    )


def _notes(comparison: Comparison, most: int) -> list[str]:
    """Return the lines below the table: runs and rows that it does not show, and a hint for the first experiment."""
    notes = [f"left out: {line}" for line in comparison.unreadable]
    if len(comparison.runs) > most:
        notes.insert(0, f"of {len(comparison.runs)} runs the first {most} are shown; all are in reports/comparison.csv")
    if comparison.hidden:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(comparison.hidden.items()))
        notes.append(f"without results: {counts}; `dvc queue status` shows them")
    elif all(run.kind in ("as is", "baseline", "workspace") for run in comparison.runs):
        notes.append(f"no experiments yet: {GRID}")
    return notes
