"""A grid whose points are named after what they vary.

    python -m stages.grid epochs=3,5 imgsz=128,160      queues epochs-3_imgsz-128 and three more; `dvc queue start` runs

What `dvc exp run --queue -S epochs=3,5 -S imgsz=128,160` does too, under names of chance. Each point is checked before
any is queued, and one that is queued or finished under its name is not queued again.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages import failures, params, records
from stages.failures import BadParams
from stages.repository import commit, main_root

USAGE = "python -m stages.grid epochs=3,5 imgsz=128,160"


def points(sweeps: Sequence[str]) -> list[dict[str, str]]:
    """The points of a grid, as text by key: DVC's own reading of `epochs=3,5`.

    Raises:
        BadParams: It is no sweep, or names a key twice.
    """
    from dvc.utils.hydra import get_hydra_sweeps  # a second that `--help` and wrong calls need not wait for
    from hydra.errors import HydraException

    keys = [sweep.partition("=")[0] for sweep in sweeps]
    if not sweeps or any("=" not in sweep for sweep in sweeps) or len(set(keys)) < len(keys):
        raise BadParams(f"a grid is given as key=value,value for each key, such as: {USAGE}")
    try:
        found = get_hydra_sweeps({"params.yaml": list(sweeps)})
    except (HydraException, ValueError) as error:
        raise BadParams(f"{' '.join(sweeps)}: {error}") from error
    return [dict(override.split("=", 1) for override in one["params.yaml"]) for one in found]


def name_of(point: Mapping[str, str]) -> str:
    """The name of a point: `epochs-3_imgsz-128`. What git takes in no name is left out."""
    name = "_".join(re.sub(r"[^\w.-]+", "", f"{key}-{value}") for key, value in point.items())
    return re.sub(r"\.{2,}", "", name).strip(".-").removesuffix(".lock")


def check(point: Mapping[str, str], content: Mapping[str, Any]) -> None:
    """See whether params.yaml would be right at a point.

    Raises:
        BadParams: In one line, the key, its value and what is allowed.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser  # reads a value as DVC will

    changed: dict[str, Any] = copy.deepcopy(dict(content))
    for key, text in point.items():
        *groups, last = key.split(".")
        group: Any = changed
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else {}
        if not isinstance(group, dict) or last not in group:
            raise BadParams(f"{key}: not in params.yaml")
        group[last] = OverridesParser.create().parse_override(f"{key}={text}").value()
    params.validate(changed, name=name_of(point))


def queue(grid: Iterable[Mapping[str, str]]) -> tuple[int, list[str]]:
    """Queue points of the last commit; returns how many, and the names of those that were there already."""
    from dvc.repo import Repo

    head, present, queued = commit(), [], 0
    with Repo(main_root()) as repo:
        line = repo.experiments.celery_queue
        known = {entry.name for entry in (*line.iter_queued(), *line.iter_active()) if entry.baseline_rev == head}
        known |= {name for name, (_, start) in records.experiments().items() if start == head}
        for point in grid:
            name = name_of(point)
            if name in known:
                present.append(name)
                continue
            repo.experiments.run(queue=True, name=name, params=[f"{key}={value}" for key, value in point.items()])
            queued += 1
    return queued, present


def main() -> None:
    grid, content = points(sys.argv[1:]), params.read(params.PARAMS)
    names = [name_of(point) for point in grid]
    if len(set(names)) < len(names):
        raise BadParams(f"two points would both be named {max(names, key=names.count)}: queue them with dvc exp run -n")
    for point in grid:
        check(point, content)
    queued, present = queue(grid)
    there = f" (there already: {', '.join(present)})" if present else ""
    print(f"{queued} queued{there}; `dvc queue start -j 2` runs them, two at a time")


if __name__ == "__main__":
    failures.run(main)
