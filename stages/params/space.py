"""The search space: one dimension a training key, the points in it, and which points are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

Point = dict[str, Any]
"""A value for each searched key."""

DIGITS = 4  # of a searched number: what is trained is what a person reads, in params.yaml and everywhere else


class Dimension(BaseModel):
    """The values of one key: a range, drawn evenly or by its logarithm, in steps or not; or a list of choices."""

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
                raise ValueError("choices stand alone, without low, high, step and log")
            if len({repr(choice) for choice in self.choices}) < len(self.choices):
                raise ValueError(f"choices {list(self.choices)} name one value twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("low and high must be finite")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is over high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low over 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step {self.step} does not fit between low {self.low} and high {self.high}")
        return self

    def is_whole(self) -> bool:
        """Whether its range is given in whole numbers."""
        return all(isinstance(bound, int | None) for bound in (self.low, self.high, self.step))

    def probes(self, whole: bool) -> list[Any]:
        """Values that must be allowed if all are: the ends and the second, or every choice."""
        if self.choices is not None:
            return list(self.choices)
        assert self.low is not None
        assert self.high is not None
        step = self.step if self.step is not None else (1 if whole else 0)
        return [self.low, min(self.low + step, self.high), self.high]


def rounded(value: Any) -> Any:
    """A number as it is written in params.yaml: four significant digits."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def same(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """A key that two points share exactly if they are the same; 1 and 1.0 are."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping | list | tuple):
            return json.dumps(value, sort_keys=True)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return repr(float(value)) if number else repr(value)

    return tuple(sorted((name, text(value)) for name, value in point.items()))
