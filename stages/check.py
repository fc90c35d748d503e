"""Stage check: params.yaml is valid, and its model, its classes, its device and the packages of its formats exist.

    python -m stages.check

DVC removes the outputs of a stage before it runs the stage again. This stage runs before all others, so that a mistake
ends the run while every output still exists.
"""

from __future__ import annotations

import sys

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import REPORTS
from stages.data.sources import check_source
from stages.detector import weights
from stages.detector.arguments import check_arguments
from stages.detector.formats import check_formats
from stages.params import file as params_file
from stages.params.schema import Params


def main() -> None:
    """Validate params.yaml, fetch the weights, look for the device, and write a marker that never changes."""
    params = params_file.load(check_more=check_arguments)
    check_source(params)
    check_formats(params.export.formats)
    weights.model_file(params.model)
    if params.model.endswith(".pt"):
        _check_weights(params)
    if params.device not in (None, "cpu"):
        from stages.detector.ultralytics import check_device  # the import takes seconds, and most runs name no device

        check_device(params.device)
    write_atomic(REPORTS / "params.ok", "params.yaml was valid when this pipeline last ran\n")


def _check_weights(params: Params) -> None:
    """Check that `head` fits the weights. Warn if the training would destroy them, or learns a class from nothing."""
    from stages.detector.fine_tuning import risk  # the imports take seconds, and most runs start from no weights
    from stages.detector.head import start_from

    start = start_from(params.model, params.head, params.data.classes, params.seed)
    lines = [risk(params)]
    if params.head != "new" and (new := [name for name in params.data.classes if name not in start.kept]):
        lines.append(
            f"{params.model} has no class named {', '.join(new)}, so that class starts from random weights; if the "
            f"model has it under another name, set `head: {{{new[0]}: NAME}}`"
        )
    for line in filter(None, lines):
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    failures.run(main)
