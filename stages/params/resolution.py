"""Training arguments from the values in params.yaml: `nbs: batch` is the batch size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def resolved(written: Mapping[str, Any]) -> dict[str, Any]:
    """Training arguments for Ultralytics from what stands in the file: `nbs: batch` is the batch size."""
    arguments = dict(written)
    if arguments.get("nbs") == "batch":
        arguments["nbs"] = arguments["batch"]
    return arguments
