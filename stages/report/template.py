"""The templates of this folder, and the filters that they use."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from stages.base.formatting import duration, plain, words
from stages.base.templates import templates
from stages.decision.verdict import counts, describe
from stages.report import numbers
from stages.report.repeats import setting_name


def environment() -> Environment:
    """Return the templates with the filters of the report."""
    result = templates(Path(__file__).parent)
    result.filters |= {
        "counts": counts,
        "describe": describe,
        "duration": duration,
        "fixed": numbers.fixed,
        "mean": numbers.mean,
        "plain": plain,
        "setting_name": setting_name,
        "words": words,
    }
    return result
