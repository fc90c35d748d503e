"""Compare a study with bare trainings of the same points, and measure a study with 2,000 trials.

    python -m benchmarks.study [--trials 4] [--pairs 3] [--workers 1]

Each pair runs in a fresh clone of this repository, on its committed data and parameters, without pruning. The bare
trainings run one after another, each in its own process, with as many threads as a worker of the study. The benchmark
prints for each pair: the seconds of the study, the seconds of the bare trainings, and their ratio. The ratio should be
under 1. It also prints the time that a trial takes beside its training, which should be 2 s at most. This is the median
time from the start to the end of a trial, minus its training. The first trial of each worker is left out, because it
waits for the worker to start.

Then it prints two times for a storage with 2,000 finished trials: seconds to the next suggestion (1 at most is the
goal), and seconds to the content of study.json and trials.csv (5 at most).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from benchmarks.common import at_least_one, bare_training, fresh_clone, run, seconds
from stages.base import failures
from stages.experiments.names import OWN_SOURCES
from stages.workers.process import places

MANY = """
import time
from stages.params import file as params_file
from stages.services.storage import open_storage
from stages.search.identity import identity
from stages.search.next_trial import next_trial
from stages.search.study import Study
from stages.search.summary import summary
from stages.search.tables import table
from optuna.trial import create_trial
import optuna
content = params_file.read(params_file.PARAMS)
params = params_file.validate({**content, "tune": {**content["tune"], "trials": 2001}})
study = Study(params, identity(params, "many", {}), open_storage(None))
distributions = study.space.distributions
random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
trials = []
for number in range(2000):
    point = random.ask(fixed_distributions=distributions).params
    facts = {"source": "sampler", "name": f"{study.name}-{number:03d}", "epochs": point["epochs"], "seconds": 30.0}
    value = 0.5 + point["epochs"] / 20 - abs(point["lr0"] - 0.002) * 10
    trials.append(create_trial(params=point, distributions=distributions, value=value, user_attrs=facts))
study.optuna_study.add_trials(trials)
for which in ("first", "next"):
    begun = time.perf_counter()
    trial = next_trial(study)
    print(f"2,000 trials: {which} suggestion after {time.perf_counter() - begun:.2f} s", flush=True)
    study.fail(trial, "refused", "a benchmark")
begun = time.perf_counter()
summary(study, params.tune), table(study.trials(), list(distributions))
print(f"2,000 trials: study.json and trials.csv after {time.perf_counter() - begun:.2f} s")
"""


class Pair(NamedTuple):
    """The times of a study and of bare trainings of its points, in seconds.

    Attributes:
        trials: The number of trials that the study has trained.
        study: The whole process of the study.
        bare: The processes of the bare trainings, added up.
        beside_training: The median time of a trial beside its training.
    """

    trials: int
    study: float
    bare: float
    beside_training: float


def measure_pair(number: int, trials: int, workers: int) -> Pair:
    """Run a study in a fresh clone, then the bare trainings of its points.

    Every pair needs a clone of its own: a study reuses the finished trainings of its repository, so in a shared clone
    the second study would train nothing.

    Args:
        number: The number of the pair, which seeds the sampler.
        trials: The number of trials beside the committed baseline, which counts as a trial.
        workers: Trainings at once.
    """
    with fresh_clone() as clone:
        tune = {"trials": trials + 1, "workers": workers, "pruner": "none", "patience": "null", "confirm_seeds": 0}
        values = [f"tune.{key}={value}" for key, value in {**tune, "seed": number}.items()]
        run(["-m", "stages", "preset", "drawn", *values], clone)
        run(["-m", "dvc", "repro", "prepare"], clone)
        arguments = _arguments(clone)  # before the study, which writes the best point to params.yaml
        storage = f"sqlite:///{clone.as_posix()}/.study/benchmark.db"
        study = seconds(["-m", "stages.study"], clone, {"OPTUNA_STORAGE": storage})
        with (clone / "reports" / "study" / "trials.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["source"] in OWN_SOURCES]
        assert rows, "the study has trained nothing: are its points among the committed results?"
        threads = places(workers, "cpu")[0].threads
        bare = sum(_train_bare(clone, arguments, row, threads) for row in rows)
        return Pair(len(rows), study, bare, _beside_training(storage, workers))


def _train_bare(clone: Path, arguments: dict[str, Any], row: dict[str, str], threads: int) -> float:
    """Train at the point of a row of trials.csv with Ultralytics alone; return the seconds."""
    point = {"epochs": int(row["epochs"]), "imgsz": int(row["imgsz"]), "batch": int(row["batch"])}
    searched = {**point, "nbs": point["batch"], "lr0": float(row["lr0"]), "scale": float(row["scale"])}
    data, out = clone / "data" / "prepared", clone / ".cache" / "bare"
    training = bare_training({**arguments, **searched}, data, out, threads)
    return seconds(training, clone, {"YOLO_CONFIG_DIR": str(clone / ".yolo")})


def _beside_training(storage: str, workers: int) -> float:
    """Return the median seconds of a trial beside its training, for the only study in a storage."""
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    own = [trial for trial in trials if trial.user_attrs.get("source") in OWN_SOURCES]
    return statistics.median(
        (trial.datetime_complete - trial.datetime_start).total_seconds() - trial.user_attrs["seconds"]
        for trial in own[workers:]
        if trial.datetime_complete and trial.datetime_start
    )


def _arguments(clone: Path) -> dict[str, Any]:
    """Return the training arguments of a clone's params.yaml."""
    code = "import json; from stages.params.file import load; print(json.dumps(load().training()))"
    return dict(json.loads(run(["-c", code], clone)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=at_least_one, default=4, help="more than --workers")
    parser.add_argument("--pairs", type=at_least_one, default=3)
    parser.add_argument("--workers", type=at_least_one, default=1)
    options = parser.parse_args()
    if options.trials <= options.workers:
        parser.error("--trials must be more than --workers: the first trial of each worker is left out")
    ratios = []
    for number in range(options.pairs):
        pair = measure_pair(number, options.trials, options.workers)
        ratios.append(pair.study / pair.bare)
        print(
            f"pair {number + 1}: study of {pair.trials} trials {pair.study:.1f} s, bare {pair.bare:.1f} s, "
            f"ratio {ratios[-1]:.3f}; beside its training a trial took {pair.beside_training:.2f} s",
            flush=True,
        )
    print(f"median ratio of time over {options.pairs} pairs: {statistics.median(ratios):.3f} (goal: under 1)")
    with fresh_clone() as clone:
        run(["-m", "stages", "preset", "drawn"], clone)
        print(run(["-c", MANY], clone), end="")


if __name__ == "__main__":
    failures.run(main)
