"""Comma-separated tables that keep the type of every value. An empty text is read as None."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as text.

    Args:
        columns: The names of the columns.
        rows: Values in the order of the columns: text, numbers, true, false, None, lists and maps of these.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def read_cell(cell: str) -> Any:
    """Return the value of a cell: None if it is empty, and text if it is no number, true, false, list or map."""
    if not cell:
        return None
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _cell(value: Any) -> str:
    """Return a value as text. Text that would be read as another type is quoted."""
    if value is None or value == "":
        return ""
    if isinstance(value, str) and read_cell(value) == value:
        return value
    return json.dumps(value)
