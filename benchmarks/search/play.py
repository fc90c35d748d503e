"""Play a study on a recorded table: the study asks, reports and tells as always, and the table stands for trainings."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage
from optuna.trial import Trial

from benchmarks.common import delivered
from benchmarks.search.table import Result, Table
from stages.experiments.finished import FinishedTraining
from stages.params import file as params_file
from stages.params.schema import Params
from stages.search.convergence import Converged
from stages.search.identity import identity
from stages.search.next_trial import ask
from stages.search.sampling import Exhausted
from stages.search.study import Study


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        name: For the reader.
        tune: The keys of `tune` in which it differs from params.yaml.
    """

    name: str
    tune: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """A trial of a play that has ended.

    Attributes:
        time: The seconds since the start of the study, with all workers at once.
        epochs: The epochs that it trained.
        seen: mAP50 as the study saw it, with noise; None if the trial was pruned.
        true: mAP50 of the point in the table.
        unstopped: mAP50 that the study would have seen without the pruner.
    """

    time: float
    epochs: int
    seen: float | None
    true: float
    unstopped: float


class MemoryStudy(Study):
    """A study of one process, whose storage is its memory."""

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()


def play(
    table: Table, base: Params, method: Method, seed: int, workers: int, trials: int, noise: bool = True
) -> list[Ended]:
    """Play a study, and return its trials in the order of their ends.

    The values of `base` are known to the study from the start, as after `dvc repro`. They are the first element, at
    the time 0. The other trials cost the time of their epochs in the table.

    Args:
        table: The table.
        base: params.yaml. Its `tune` has the search space.
        method: The sampler and the pruner.
        seed: The seed of the sampler and of the noise.
        workers: Trainings at once.
        trials: The number of trials that the study trains.
        noise: Whether a result differs from the table by a difference between seeds, drawn from the table's repeats.
    """
    tune = base.tune.model_copy(update={**method.tune, "seed": seed, "trials": trials + 1})
    study = _study(base.model_copy(update={"tune": tune}))
    random = np.random.default_rng([seed, 1])

    def measured(arguments: Mapping[str, Any]) -> Result:
        true = table.result(arguments)
        return table.noisy(true, random) if noise else true

    start = measured(base.training())
    study.add_results([_finished(base, start)])
    ended = [Ended(0.0, 0, start.end, table.result(base.training()).end, start.end)]
    queue: list[tuple[float, int, int]] = []  # the end of an epoch: time, number of the trial, epoch
    running: dict[int, _Running] = {}
    now = 0.0

    def fill() -> None:
        while len(running) < workers:
            try:
                trial = ask(study)
            except (Exhausted, Converged):
                return
            if trial is None:
                return
            arguments = study.space.arguments(trial.params)
            running[trial.number] = _Running(trial, arguments, measured(arguments), table.result(arguments).end)
            heapq.heappush(queue, (now + table.seconds(arguments, 1), trial.number, 1))

    fill()
    while queue:
        now, number, epoch = heapq.heappop(queue)
        trial, arguments, result = running[number].trial, running[number].arguments, running[number].result
        stopped = study.report(trial, epoch, float(result.curve[epoch - 1]))
        is_last = epoch == len(result.curve)
        if not is_last and not stopped:
            step = table.seconds(arguments, epoch + 1) - table.seconds(arguments, epoch)
            heapq.heappush(queue, (now + step, number, epoch + 1))
            continue
        true = running.pop(number).true
        if is_last:
            study.complete(trial, {"mAP50": result.end}, table.seconds(arguments, epoch))
        else:
            study.prune(trial, table.seconds(arguments, epoch))
        ended.append(Ended(now, epoch, result.end if is_last else None, true, result.end))
        fill()
    return ended


@dataclass(frozen=True)
class _Running:
    trial: Trial
    arguments: dict[str, Any]
    result: Result
    true: float


def chosen(ended: list[Ended]) -> Iterator[float]:
    """Yield after each trial the true mAP50 of the setting that a study would choose: the best that it saw."""
    best = ended[0]
    for trial in ended:
        if trial.seen is not None and trial.seen > (best.seen or 0.0):
            best = trial
        yield best.true


def params_of(space: Mapping[str, Any], values: Mapping[str, Any]) -> Params:
    """Return params.yaml as it was delivered, with another search space and other values of training keys."""
    content = delivered()
    content["tune"]["space"] = dict(space)
    return params_file.validate({**content, **values})


def _study(params: Params) -> Study:
    storage: Any = InMemoryStorage()  # it has neither heartbeats nor a lock, which a play does not need
    return MemoryStudy(params, identity(params, "table", {}), storage)


def _finished(base: Params, result: Result) -> FinishedTraining:
    curve = tuple(float(value) for value in result.curve)
    return FinishedTraining("baseline", "baseline", base.training(), {"mAP50": result.end}, {}, curve)
