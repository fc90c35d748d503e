"""The search space: one dimension for each searched key, and points with a value for each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

Point = dict[str, Any]
"""A value for each searched key."""

DIGITS = 4  # significant digits of a searched number: the value that is trained is the one that people read


class Dimension(BaseModel):
    """The values of one key: a range, uniform or logarithmic, with or without steps; or a list of choices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: StrictInt | StrictFloat | None = Field(default=None, description="a number")
    high: StrictInt | StrictFloat | None = Field(default=None, description="a number")
    log: bool = Field(default=False, strict=True, description="true or false")
    step: StrictInt | StrictFloat | None = Field(default=None, description="a number over 0")
    choices: tuple[StrictBool | StrictInt | StrictFloat | StrictStr | None, ...] | None = Field(
        default=None, min_length=1, description="a list of at least one number, text, true, false or null"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Dimension:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices cannot be combined with low, high, step or log")
            if len({same({"": choice}) for choice in self.choices}) < len(self.choices):
                raise ValueError(f"choices {list(self.choices)} contain one value twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if not all(abs(bound) < 1e300 for bound in (self.low, self.high)):
            raise ValueError("low and high must be finite")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is over high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low over 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step {self.step} does not fit between low {self.low} and high {self.high}")
        for bound in (self.low, self.high):
            if self.step is None and rounded(bound) != bound:
                raise ValueError(f"{bound} has more than {DIGITS} significant digits")
        return self

    def is_whole(self) -> bool:
        """Return whether low, high and step are whole numbers."""
        return all(isinstance(bound, int | None) for bound in (self.low, self.high, self.step))

    def probes(self, whole: bool) -> list[Any]:
        """Return the values to check: low, the next step and high, or every choice. If they are allowed, all are.

        Args:
            whole: Whether the key takes whole numbers, so that a range without step has the step 1.
        """
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None
        assert self.high is not None
        step = self.step if self.step is not None else (1 if whole else 0)
        return [self.low, min(self.low + step, self.high), self.high]


def step_value(low: float, step: float, count: int) -> float:
    """Return the number that is so many steps above the lowest one, without the error of the addition."""
    return float(f"{low + step * count:.12g}")


def rounded(value: Any) -> Any:
    """Return a number with the four significant digits that params.yaml has, and any other value unchanged.

    It is for numbers between which there are no steps.
    """
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def same(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a key of a point. Two points have the same key exactly if they are equal; 1 and 1.0 are equal."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping | list | tuple):
            return json.dumps(value, sort_keys=True)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return repr(float(value)) if number else repr(value)

    return tuple(sorted((name, text(value)) for name, value in point.items()))
