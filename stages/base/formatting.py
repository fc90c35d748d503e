"""How points, times and tables are written for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def words(point: Mapping[str, Any]) -> str:
    """A point as text: `epochs 5, lr0 0.002`."""
    return ", ".join(f"{key} {plain(value)}" for key, value in point.items())


def plain(value: Any) -> str:
    """A value as a person writes it: `0.002`, `5`, `null`, `true`, `{person: Normal}`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as text, as exact as an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_NUMBER = re.compile(r"[*+-]*[\d.,]+\**|-|")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown; columns of numbers are aligned to the right."""
    body = list(rows)
    numbers = [all(_NUMBER.fullmatch(row[place]) for row in body) for place, _ in enumerate(head)]
    ruler = ["---:" if number else "---" for number in numbers]
    return [_line(head), _line(ruler), *(_line(row) for row in body)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
