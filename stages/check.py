"""Stage check: params.yaml is right, and the model that it names can be had.

    python -m stages.check

DVC removes what a stage made before it runs the stage again. What could be known to fail is therefore found here, in a
stage in front of all others, while everything is still in its place.
"""

from __future__ import annotations

from stages import failures, params, weights
from stages.repository import REPORTS, write_atomic


def main() -> None:
    """Validate, fetch weights if there are any to fetch, and write a marker that never changes."""
    weights.model_file(params.load().model)
    write_atomic(REPORTS / "params.ok", "params.yaml was right when this pipeline last ran\n")


if __name__ == "__main__":
    failures.run(main)
