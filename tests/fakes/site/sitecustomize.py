"""Replace the modules that train and measure by quick ones, in every Python process that has this folder in its path.

Python imports a module of this name at its start. Tests of DVC, Optuna and MLflow set PYTHONPATH to this folder: their
subject is not the training, whose value is then a formula of its parameters. Nothing in the project knows of this.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FAKES = {
    f"stages.detector.{name}": f"{name}.py" for name in ("training", "cost", "evaluation", "export", "ultralytics")
}


class _Fakes(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in FAKES:
            return None
        return importlib.util.spec_from_file_location(fullname, Path(__file__).parents[1] / FAKES[fullname])


sys.meta_path.insert(0, _Fakes())
