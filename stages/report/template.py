"""The templates of this folder, and the filters that they use."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.base.formatting import duration, plain, words
from stages.decision.verdict import counts, describe
from stages.report import numbers
from stages.report.repeats import setting_name


def environment() -> Environment:
    """Return the environment in which the templates are rendered. A name that is not defined is an error."""
    result = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
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
