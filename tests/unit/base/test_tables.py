"""Comma-separated tables: every value comes back with its type."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from stages.base.tables import read_cell, write_table

VALUES: list[Any] = [
    None, True, False, 0, 4, 0.1, 5e-05, 1e300, "AdamW", "0", "1e-3", "true", "null", "0,1", 'a "b"', "two\nlines",
    "007", [], ["a", 1], {"person": ["Normal", "Fall"]}, "{person}", "NaN",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    (row,) = csv.DictReader(io.StringIO(write_table(("name", "value"), [("a", value)])))
    read = read_cell(row["value"])
    assert read == value
    assert type(read) is type(value)


def test_plain_text_and_numbers_are_not_quoted() -> None:
    assert write_table(("name", "lr0", "none"), [("grid-1", 5e-05, None)]) == "name,lr0,none\ngrid-1,5e-05,\n"
