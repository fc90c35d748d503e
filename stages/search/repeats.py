"""Train settings again with other seeds, and measure them on the validation and on the test split.

Each repeat is a DVC experiment, identified by its arguments, its data and its code, and is never trained twice. The
study checks its best trials with one of these seeds; the decision compares settings with all of them. Small data have
more sources of luck than the seed (Bouthillier and others, Accounting for Variance in Machine Learning Benchmarks,
arXiv 2103.03098): the decision may repeat over other splits of the images, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.experiments.finished import FinishedTraining, finished_trainings
from stages.experiments.identity import code_digests
from stages.experiments.names import confirmation_name
from stages.experiments.origin import Origin
from stages.experiments.split import origin_of_split
from stages.params.resolution import resolved
from stages.params.schema import Params
from stages.params.space import Point, same
from stages.search.train_all import train_all
from stages.workers.launcher import Launcher
from stages.workers.messages import Task
from stages.workers.pool import LOGS
from stages.workers.process import LocalLauncher, places


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


class Repeater(Protocol):
    """Trains repeats, and reuses those that exist.

    Attributes:
        seeds: The seeds of the repeats: those after the seed of params.yaml, which the search uses.
        folders: The prepared data of each seed.
    """

    seeds: range
    folders: Mapping[int, Path]

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
        """Return the repeats that exist, and those that must be trained."""

    def train(self, wanted: Iterable[Wanted], failed: dict[str, str]) -> list[Repeated]:
        """Train repeats, print a line for each, and return those that succeeded.

        Args:
            wanted: The repeats to train.
            failed: Gets the reason of each missing repeat, by the name of its run.

        Raises:
            Failure: The dvc command that started this process has ended.
        """


def open_repeater(params: Params, origin: Origin, launcher: Launcher) -> Repeater:
    """Return the repeater of the confirmation: over seeds, or over splits and seeds.

    Args:
        params: params.yaml.
        origin: What the experiments start from.
        launcher: The source of the workers. Repeats on other splits are trained on this machine.

    Raises:
        Failure: Another split cannot be made.
    """
    over_seeds = SeedRepeater(params, origin, launcher)
    return over_seeds if params.tune.confirm_over == "seeds" else SplitRepeater(params, origin, over_seeds)


class SeedRepeater:
    """A Repeater whose repeats all have the data of one origin."""

    def __init__(self, params: Params, origin: Origin, launcher: Launcher) -> None:
        """Prepare without starting a training.

        Args:
            params: params.yaml.
            origin: What the experiments start from.
            launcher: The source of the workers.
        """
        self._params, self._origin, self._launcher = params, origin, launcher
        self._made = origin.made_of
        self.seeds = range(params.seed + 1, params.seed + 1 + params.tune.confirm_seeds)
        self.folders: Mapping[int, Path] = dict.fromkeys(self.seeds, origin.data)

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
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


class SplitRepeater:
    """A Repeater whose repeats have other splits of the same images, and other seeds. The first keeps the split."""

    def __init__(self, params: Params, origin: Origin, first: SeedRepeater) -> None:
        """Prepare the data of each split that does not exist yet. No training starts.

        Args:
            params: params.yaml.
            origin: What the experiments of the first repeat start from.
            first: The repeater with the split of the search.

        Raises:
            Failure: A split cannot be prepared, or `data.seed` does not change the splits of this data.
        """
        self.seeds = first.seeds
        self._repeaters: dict[int, SeedRepeater] = {}
        for number, seed in enumerate(self.seeds):
            if not number:
                self._repeaters[seed] = first
                continue
            split = origin_of_split(origin, params.data.seed + number)
            launcher = LocalLauncher(places(params.tune.workers, params.device, params.tune.trials_per_gpu), split)
            self._repeaters[seed] = SeedRepeater(params, split, launcher)
        self.folders: Mapping[int, Path] = {seed: repeater.folders[seed] for seed, repeater in self._repeaters.items()}

    def existing(self, wanted: Iterable[Wanted]) -> tuple[list[Repeated], list[Wanted]]:
        repeated: list[Repeated] = []
        missing: list[Wanted] = []
        for repeater, repeats in self._by_split(wanted):
            there, absent = repeater.existing(repeats)
            repeated += there
            missing += absent
        return repeated, missing

    def train(self, wanted: Iterable[Wanted], failed: dict[str, str]) -> list[Repeated]:
        return [
            repeated for repeater, repeats in self._by_split(wanted) for repeated in repeater.train(repeats, failed)
        ]

    def _by_split(self, wanted: Iterable[Wanted]) -> Iterator[tuple[SeedRepeater, list[Wanted]]]:
        repeats = list(wanted)
        for seed, repeater in self._repeaters.items():
            if own := [repeat for repeat in repeats if repeat.seed == seed]:
                yield repeater, own
