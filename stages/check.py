"""Stage check: params.yaml is right, and the model and the device that it names can be had.

    python -m stages.check

DVC removes what a stage made before it runs the stage again. What could be known to fail is therefore found here, in a
stage in front of all others, while everything is still in its place.
"""

from __future__ import annotations

from stages import failures, params, weights
from stages.repository import REPORTS, write_atomic


def main() -> None:
    """Validate, fetch weights if there are any to fetch, look for the device, and write a marker that never changes."""
    given = params.load()
    weights.model_file(given.model)
    if given.device not in (None, "cpu"):
        from stages.yolo import check_device  # takes seconds, and most runs name no device

        check_device(given.device)
    write_atomic(REPORTS / "params.ok", "params.yaml was right when this pipeline last ran\n")


if __name__ == "__main__":
    failures.run(main)
