"""Train settings again with other seeds, and measure them on the validation and on the test split.

Each repeat is a DVC experiment, identified by its arguments, its data and its code, and is never trained twice. The
study checks its best trials with one of these seeds; the decision compares settings with all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stages.experiments.finished import FinishedTraining, finished_trainings
from stages.experiments.identity import code_digests
from stages.experiments.lock import parse_lock, prepared
from stages.experiments.names import confirmation_name
from stages.experiments.workshop import Origin
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.train_all import train_all
from stages.workers.launcher import Launcher
from stages.workers.messages import Task
from stages.workers.pool import LOGS


@dataclass(frozen=True)
class Wanted:
    """A repeat to train.

    Attributes:
        label: The name of its setting in the printed lines, such as `best` or `trial 7`.
        point: The values of the searched parameters.
        seed: The seed of the training.
    """

    label: str
    point: Point
    seed: int


Repeated = tuple[Wanted, FinishedTraining]


class Repeater:
    """Trains repeats, and reuses those that exist.

    Attributes:
        seeds: The seeds of the repeats: those after the seed of params.yaml, which the search uses.
    """

    def __init__(self, params: Params, origin: Origin, launcher: Launcher) -> None:
        """Prepare without starting a training.

        Args:
            params: params.yaml.
            origin: What the experiments start from.
            launcher: The source of the workers.
        """
        self._params, self._origin, self._launcher = params, origin, launcher
        data = prepared(parse_lock(origin.lock))
        self._made = {**code_digests(), data["path"]: data["md5"]}
        self.seeds = range(params.seed + 1, params.seed + 1 + params.tune.confirm_seeds)

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
        """Return the repeats that exist, and those that must be trained."""
        trained = {
            same(training.arguments): training
            for training in finished_trainings(self._made, self._origin.commit).trainings
            if training.tested and "train_seconds" in training.metrics
        }
        repeated: list[Repeated] = []
        missing: list[Wanted] = []
        for repeat in wanted:
            training = trained.get(same(self._arguments(repeat)))
            if training is None:
                missing.append(repeat)
            else:
                repeated.append((repeat, training))
        return repeated, missing

    def train(self, wanted: Iterable[Wanted], failed: dict[str, str]) -> list[Repeated]:
        """Train repeats, print a line for each, and return those that succeeded.

        Args:
            wanted: The repeats to train.
            failed: Gets the reason of each missing repeat, by the name of its run.

        Raises:
            Failure: The dvc command that started this process has ended.
        """
        by_label = {f"{repeat.label}, seed {repeat.seed}": repeat for repeat in wanted}
        tasks = {label: self._task(repeat) for label, repeat in by_label.items()}
        return [(by_label[label], training) for label, training in train_all(tasks, self._launcher, failed)]

    def _arguments(self, repeat: Wanted) -> dict[str, Any]:
        return resolved({**self._params.written(), **repeat.point, "seed": repeat.seed})

    def _task(self, repeat: Wanted) -> Task:
        arguments = self._arguments(repeat)
        identity: list[Any] = [sorted((key, repr(value)) for key, value in arguments.items() if key != "seed")]
        threshold = self._params.evaluate.threshold
        identity += [sorted(self._made.items()), sorted(code_digests("evaluate").items()), threshold]
        name = confirmation_name(hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:6], repeat.seed)
        values = {**repeat.point, "seed": repeat.seed}
        return Task(name, values, arguments, LOGS / f"{name}.log", tuple(self._params.data.classes), threshold)
