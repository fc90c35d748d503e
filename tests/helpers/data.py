"""The group `data` of params.yaml with other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.params import file as params_file
from stages.params.schema import Data
from tests.helpers.project import SOURCE

VALUES = params_file.read(SOURCE / "params.yaml")["data"]


def data(split: Mapping[str, float] | None = None, **changes: Any) -> Data:
    """Return the committed group `data` with changed values. `split` may be None for three times null."""
    return Data.model_validate({**VALUES, **changes, "split": split or VALUES["split"]})
