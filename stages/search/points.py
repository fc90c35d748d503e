"""Points of the search space, and the training arguments at a point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import create_trial

from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.distributions import distribution


class SearchSpace:
    """The search space of a study, with the values of the keys that are not searched.

    Attributes:
        distributions: The searched keys in Optuna's terms.
        start: The point at which params.yaml stands. It may lie outside the space.
    """

    def __init__(self, params: Params) -> None:
        self._written = params.written()
        self.distributions: dict[str, BaseDistribution] = {
            key: distribution(dimension, params.whole(key) and dimension.is_whole())
            for key, dimension in params.tune.space.items()
        }
        arguments = resolved(self._written)
        self.start: Point = {key: self._value(key, arguments) for key in self.distributions if key in arguments}

    def arguments(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return all training arguments at a point."""
        return resolved({**self._written, **point})

    def _value(self, key: str, arguments: Mapping[str, Any]) -> Any:
        """Return the value of a key as the space has it: `batch`, a choice of `nbs`, stands for the value of batch."""
        value, choices = arguments[key], getattr(self.distributions[key], "choices", ())
        is_batch = key == "nbs" and value not in choices and "batch" in choices and value == arguments["batch"]
        return "batch" if is_batch else value

    def point(self, arguments: Mapping[str, Any]) -> Point | None:
        """Return the point with these training arguments, or None if no point of the space has them."""
        point = {}
        for key, values in self.distributions.items():
            if key not in arguments:
                return None
            value = self._value(key, arguments)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            point[key] = float(value) if isinstance(values, FloatDistribution) and number else value
        if same(self.arguments(point)) != same(arguments):
            return None
        try:
            create_trial(params=point, distributions=self.distributions, value=0.0)
        except (ValueError, TypeError):  # Optuna raises these for a value outside a distribution
            return None
        return point
