"""Resolve the values of params.yaml that refer to other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def resolved(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training arguments for the values in params.yaml: `nbs: batch` becomes the value of `batch`."""
    arguments = dict(written)
    if arguments.get("nbs") == "batch":
        arguments["nbs"] = arguments["batch"]
    return arguments
