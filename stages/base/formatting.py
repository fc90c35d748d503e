"""Write points, values and times as text for people, and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate


def words(point: Mapping[str, Any]) -> str:
    """Return a point as text: `epochs 5, lr0 0.002`."""
    return ", ".join(f"{key} {plain(value)}" for key, value in point.items())


def plain(value: Any) -> str:
    """Return a value as a person writes it in YAML: `0.002`, `5`, `null`, `true`, `{person: Normal}`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return seconds as text with the precision of an estimate: `45 s`, `12 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_NUMBER = re.compile(r"[*+-]*[\d.,]+\**|-|")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown. Columns of numbers are aligned to the right."""
    body = [[_cell(text) for text in row] for row in rows]
    columns = [[row[place] for row in body] for place, _ in enumerate(head)]
    align = ["right" if all(_NUMBER.fullmatch(cell) for cell in column) else "left" for column in columns]
    table = tabulate(body, [_cell(text) for text in head], "pipe", disable_numparse=True, colalign=align)
    return table.splitlines()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
