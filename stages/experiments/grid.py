"""A grid of experiments, each named after its values.

`python -m stages grid epochs=3,5 imgsz=128,160` queues epochs-3_imgsz-128 and three more. `dvc exp run --queue` does
the same with random names. All points are checked before the first one is queued. A point that is queued or finished is
not queued again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stages.base.failures import BadParams, Failure
from stages.base.formatting import plain
from stages.base.git import commit, git
from stages.base.paths import main_root
from stages.experiments import refs
from stages.params import file as params_file
from stages.params.schema import Params

USAGE = "python -m stages grid epochs=3,5 imgsz=128,160"


Point = dict[str, str]
"""The values of a point as text, by key."""


def points(sweeps: Sequence[str]) -> list[Point]:
    """Return the points of a grid as text by key. DVC's own parser reads `epochs=3,5`.

    Raises:
        BadParams: An argument is not a sweep, or two have the same key.
    """
    from dvc.utils.hydra import get_hydra_sweeps  # takes a second to import, which `--help` does not need
    from hydra.errors import HydraException

    keys = [sweep.partition("=")[0] for sweep in sweeps]
    if not sweeps or any("=" not in sweep for sweep in sweeps) or len(set(keys)) < len(keys):
        raise BadParams(f"a grid is given as key=value,value for each key, such as: {USAGE}")
    try:
        overrides = get_hydra_sweeps({"params.yaml": list(sweeps)})
    except (HydraException, ValueError) as error:
        raise BadParams(f"{' '.join(sweeps)}: {error}") from error
    return [dict(override.split("=", 1) for override in point["params.yaml"]) for point in overrides]


def name_of(point: Mapping[str, str]) -> str:
    """Return the name of a point: `epochs-3_imgsz-128`. Characters that git does not allow are left out."""
    name = "_".join(re.sub(r"[^\w.-]+", "", f"{key}-{value}") for key, value in point.items())
    return re.sub(r"\.{2,}", "", name).strip(".-").removesuffix(".lock")


def check(point: Mapping[str, str], content: Mapping[str, Any]) -> Params:
    """Return the parameters at a point.

    Args:
        point: The values of the point as text, by key.
        content: The content of params.yaml.

    Raises:
        BadParams: A value is wrong. The line names the key, the value and the allowed values.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser  # the parser that DVC uses

    changed: dict[str, Any] = copy.deepcopy(dict(content))
    for key, text in point.items():
        *groups, last = key.split(".")
        group: Any = changed
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else {}
        if not isinstance(group, dict) or last not in group:
            raise BadParams(f"{key}: not in params.yaml")
        group[last] = OverridesParser.create().parse_override(f"{key}={text}").value()
    return params_file.validate(changed, name=name_of(point))


def queue(grid: Mapping[str, tuple[Point, Params]]) -> tuple[int, list[str]]:
    """Queue experiments of the last commit.

    Args:
        grid: The points by name, as `checked` returns them.

    Returns:
        The number of queued experiments, and the names of those that were already queued or finished.

    Raises:
        Failure: DVC cannot queue a point, or an experiment has the name of a point and other values.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    head, present, queued = commit(), finished(grid), 0
    with Repo(main_root()) as repo:
        waiting = repo.experiments.celery_queue
        names = {entry.name for entry in (*waiting.iter_queued(), *waiting.iter_active()) if entry.baseline_rev == head}
        present += [name for name in grid if name in names and name not in present]
        for name, (point, _) in grid.items():
            if name in present:
                continue
            try:
                repo.experiments.run(queue=True, name=name, params=[f"{key}={value}" for key, value in point.items()])
            except DvcException as error:
                reason = " ".join(str(error).split())
                raise Failure(f"{name} is not queued ({queued} points were queued before it): {reason}") from error
            queued += 1
    return queued, present


def finished(grid: Mapping[str, tuple[Point, Params]]) -> list[str]:
    """Return the points of which the last commit has an experiment.

    Raises:
        Failure: An experiment has the name of a point and other values. params.yaml was changed since.
    """
    head, experiments = commit(), refs.experiments()
    names = [name for name in grid if name in experiments and experiments[name][1] == head]
    for name in names:
        text = git("show", f"{experiments[name][0]}:./params.yaml", root=main_root())
        there = params_file.validate(params_file.parsed(text, name), name).model_dump()
        here = grid[name][1].model_dump()
        for key in sorted({*grid[name][1].training_keys(), "data", "evaluate"}):
            if there.get(key) != here[key]:
                raise Failure(
                    f"{name}: an experiment of this name has {key} {plain(there.get(key))}, not {plain(here[key])}: "
                    f"commit params.yaml, or remove the experiment with `dvc exp remove {name}`"
                )
    return names


def checked(sweeps: Sequence[str], check_more: Callable[[Params, str], None]) -> dict[str, tuple[Point, Params]]:
    """Return each point of a grid, as text by key, with the parameters at it, by the name of the point.

    Args:
        sweeps: `key=value,value` for each key.
        check_more: A function that gets the parameters and the name of each point, and raises BadParams if they are
            wrong.

    Raises:
        BadParams: The grid or one of its points is wrong.
    """
    grid, content = points(sweeps), params_file.read(params_file.PARAMS)
    names = [name_of(point) for point in grid]
    if len(set(names)) < len(names):
        raise BadParams(f"two points would both be named {max(names, key=names.count)}: queue them with dvc exp run -n")
    result = {}
    for name, point in zip(names, grid, strict=True):
        params = check(point, content)
        check_more(params, name)
        result[name] = (point, params)
    return result


def queue_grid(sweeps: Sequence[str], check_more: Callable[[Params, str], None]) -> None:
    """Check every point of a grid, then queue the new ones. The arguments and errors are those of `checked`."""
    queued, present = queue(checked(sweeps, check_more))
    skipped = f" (already queued or finished: {', '.join(present)})" if present else ""
    print(f"{queued} queued{skipped}; `dvc queue start -j 2` runs them, two at a time")
