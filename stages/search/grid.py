"""A grid that is trained at once, with the workers of a study: on this machine, or on the machines of a Ray cluster.

    python -m stages grid epochs=3,5 imgsz=128,160 --now

Each point is an experiment of DVC with metrics of the test split, and a run in MLflow. If the command is interrupted or
killed, the same command goes on with the points that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stages.base.failures import BadParams, Failure
from stages.experiments import grid
from stages.experiments.finished import finished_trainings
from stages.experiments.origin import Origin, present_origin
from stages.params import file as params_file
from stages.params.schema import Params
from stages.params.space import same
from stages.search.train_all import one_process, train_all
from stages.tracking.missed import pending
from stages.tracking.outage import tolerated
from stages.tracking.store import Store
from stages.tracking.sync import catch_up
from stages.workers.launcher import open_launcher
from stages.workers.messages import Task
from stages.workers.pool import LOGS


def train_grid(sweeps: Sequence[str], check_more: Callable[[Params, str], None]) -> None:
    """Train the points of a grid that are not finished, and print a line for each.

    Args:
        sweeps: `key=value,value` for each key.
        check_more: As in `grid.checked`.

    Raises:
        BadParams: The grid or one of its points is wrong, or varies a key that is no training key. Nothing is trained.
        Failure: There is no commit or no prepared data, or a point failed.
    """
    points = grid.checked(sweeps, check_more)
    params = params_file.load()
    keys = {key for point, _ in points.values() for key in point}
    if others := sorted(keys - set(params.training_keys())):
        raise BadParams(
            f"{', '.join(others)}: `--now` varies training keys only, because it uses the prepared data as they are; "
            "leave it out to queue the points"
        )
    origin = present_origin()
    failed: dict[str, str] = {}
    with one_process():
        tasks = {name: _task(name, point, at, params) for name, (point, at) in points.items()}
        finished = _finished(tasks, grid.finished(points), origin)
        missing = {name: task for name, task in tasks.items() if name not in finished}
        reused = f"; finished before: {', '.join(finished.values())}" if finished else ""
        print(f"{len(missing)} of {len(tasks)} points to train{reused}", flush=True)
        if missing:
            with open_launcher(params, origin) as launcher:
                for _ in train_all(missing, launcher, failed):
                    pass  # each is an experiment now
        if missing or any(pending(name).is_file() for name in tasks):  # a kill may come between point and mirror
            _mirror()
    if failed:
        raise Failure(f"{len(failed)} of {len(missing)} points failed: {', '.join(failed)}; run the same command again")
    print("`dvc exp show` compares the points")


def _task(name: str, point: Mapping[str, str], at: Params, params: Params) -> Task:
    values = {key: at.written()[key] for key in point}
    classes, threshold = tuple(params.data.classes), params.evaluate.threshold
    return Task(name, values, at.training(), LOGS / f"{name}.log", classes, threshold)


def _finished(tasks: Mapping[str, Task], names: Sequence[str], origin: Origin) -> dict[str, str]:
    """Return the points that are trained and tested, each with the run that has its arguments.

    Args:
        tasks: The points by name.
        names: Those of which an experiment of this commit has the name.
        origin: The commit, the code and the data.

    Raises:
        Failure: An experiment with the name of a point was made from other data or code.
    """
    trainings = finished_trainings(origin.made_of, origin.commit).trainings
    equal = {same(training.arguments): training.name for training in trainings if training.tested}
    finished = {name: equal[same(task.arguments)] for name, task in tasks.items() if same(task.arguments) in equal}
    for name in names:
        if name not in finished:
            raise Failure(
                f"{name}: an experiment of this name was made from other data or code: commit the changes, or remove "
                f"the experiment with `dvc exp remove {name}`"
            )
    return finished


def _mirror() -> None:
    with tolerated("not every point is mirrored in MLflow: {}; see `make sync`"):
        for line in catch_up(Store()):
            print(line)
