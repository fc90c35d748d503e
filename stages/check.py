"""Stage check: params.yaml is right, and the model, its classes and the device that it names can be had.

    python -m stages.check

DVC removes what a stage made before it runs the stage again. What could be known to fail is therefore found here, in a
stage in front of all others, while everything is still in its place.
"""

from __future__ import annotations

import sys

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import REPORTS
from stages.detector import weights
from stages.detector.arguments import check_arguments
from stages.params import file as params_file
from stages.params.schema import Params


def main() -> None:
    """Validate, fetch weights if there are any to fetch, look for the device, and write a marker that never changes."""
    given = params_file.load()
    check_arguments(given)
    weights.model_file(given.model)
    if given.model.endswith(".pt"):
        _check_weights(given)
    if given.device not in (None, "cpu"):
        from stages.detector.ultralytics import check_device  # takes seconds, and most runs name no device

        check_device(given.device)
    write_atomic(REPORTS / "params.ok", "params.yaml was right when this pipeline last ran\n")


def _check_weights(given: Params) -> None:
    """See whether `head` fits the weights, and warn where the training would destroy them or learn a class anew."""
    from stages.detector.fine_tuning import risk  # these take seconds, and most runs start from no weights
    from stages.detector.head import start_from

    start = start_from(given.model, given.head, given.data.classes, given.seed)
    lines = [risk(given)]
    if given.head != "new" and (new := [name for name in given.data.classes if name not in start.kept]):
        lines.append(
            f"{given.model} knows no class named {', '.join(new)}, so it starts new; where it has another name there, "
            f"say so: `head: {{{new[0]}: NAME}}`"
        )
    for line in filter(None, lines):
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    failures.run(main)
