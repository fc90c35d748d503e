"""A study beside bare trainings of the same points, each in a fresh process; and a study with 2,000 trials.

    python -m benchmarks.study [--trials 4] [--pairs 3] [--workers 1]

The study runs in a clone of this repository, on its committed data and parameters, without pruning. Printed pair by
pair: seconds of the study, seconds of the bare trainings one after another, their ratio (under 1 is wanted), and what
a trial took beside its training (2 s at most is wanted): the median from asking to telling, less the training, without
the first trial of the worker, which waits for it to start.
Then, with 2,000 finished trials in the storage: seconds to the next suggestion (1 at most), and to study.json and
trials.csv (5 at most).
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import optuna

from benchmarks import fresh_clone

BARE = """
from ultralytics import YOLO
YOLO({model!r}).train(data={data!r}, project={out!r}, plots=False, verbose=False, **{arguments!r})
"""

MANY = """
import time
from stages.params import file as params_file
from stages.services.storage import open_storage
from stages.search.study import Study, identity
from stages.search.tables import table
from optuna.trial import create_trial
import optuna
content = params_file.read(params_file.PARAMS)
given = params_file.validate({**content, "tune": {**content["tune"], "trials": 2001}})
study = Study(given, identity(given, "many", {}), open_storage(None))
source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
made = []
for number in range(2000):
    point = source.ask(fixed_distributions=study.distributions).params
    facts = {"source": "sampler", "name": f"{study.name}-{number:03d}", "epochs": point["epochs"], "seconds": 30.0}
    value = 0.5 + point["epochs"] / 20 - abs(point["lr0"] - 0.002) * 10
    made.append(create_trial(params=point, distributions=study.distributions, value=value, user_attrs=facts))
study._study.add_trials(made)
for what in ("first", "next"):
    begun = time.perf_counter()
    trial = study.ask()
    print(f"2,000 trials: {what} suggestion after {time.perf_counter() - begun:.2f} s", flush=True)
    study.fail(trial, "refused", "a benchmark")
begun = time.perf_counter()
size = len(table(study.trials(), list(study.distributions))), study.summary()
print(f"2,000 trials: study.json and trials.csv after {time.perf_counter() - begun:.2f} s")
"""


def run(command: list[str], where: Path, **environment: str) -> float:
    """Wall time of a command."""
    quiet = {"YOLO_VERBOSE": "false", "YOLO_OFFLINE": "true", **environment}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "OPTUNA_"))}
    begun = time.perf_counter()
    subprocess.run(command, cwd=where, env={**kept, **quiet}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def pair(clone: Path, number: int) -> tuple[float, float, float]:
    """Seconds of a study, of bare trainings of its points, and of a trial beside its training."""
    reports = clone / "reports" / "study" / "trials.csv"
    text = (clone / "params.yaml").read_text(encoding="utf-8")
    seed = f"  seed: {number}  # of the sampler"
    (clone / "params.yaml").write_text(text.replace("  seed: 0             # of the sampler", seed), encoding="utf-8")
    storage = f"sqlite:///{clone.as_posix()}/.study/{number}.db"
    study = run([sys.executable, "-m", "stages.study"], clone, OPTUNA_STORAGE=storage)
    with reports.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] in ("sampler", "enqueued")]
    given = _arguments(clone)
    bare = 0.0
    for row in rows:
        point = {"epochs": int(row["epochs"]), "imgsz": int(row["imgsz"]), "batch": int(row["batch"])}
        arguments = {**given, **point, "nbs": point["batch"], "lr0": float(row["lr0"]), "scale": float(row["scale"])}
        model = arguments.pop("model")
        data = str(clone / "data" / "prepared" / "data.yaml")
        code = BARE.format(model=model, arguments=arguments, data=data, out=str(clone / ".cache" / "bare"))
        bare += run([sys.executable, "-c", code], clone, YOLO_CONFIG_DIR=str(clone / ".yolo"))
    (clone / "params.yaml").write_text(text, encoding="utf-8")
    return study, bare, beside_training(storage)


def beside_training(storage: str) -> float:
    """Median seconds of a trial of the only study in a storage, from asking to telling, less its training."""
    (name,) = optuna.get_all_study_names(storage)
    own = [trial for trial in optuna.load_study(study_name=name, storage=storage).trials if trial.number > 1]
    return statistics.median(
        (trial.datetime_complete - trial.datetime_start).total_seconds() - trial.user_attrs["seconds"]
        for trial in own
        if trial.datetime_complete and trial.datetime_start
    )


def _arguments(clone: Path) -> dict[str, object]:
    code = "from stages.params.file import load; print(load().training())"
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, check=True, capture_output=True, text=True)
    return dict(eval(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with fresh_clone() as clone:
        run([sys.executable, "-m", "dvc", "repro", "prepare"], clone)
        params = clone / "params.yaml"
        text = params.read_text(encoding="utf-8")
        for old, new in (
            ("  trials: 16 ", f"  trials: {asked.trials + 1} "),  # the committed baseline is one
            ("  workers: null", f"  workers: {asked.workers}"),
            ("  pruner: median", "  pruner: none"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        params.write_text(text, encoding="utf-8")
        ratios = []
        for number in range(asked.pairs):
            study, bare, beside = pair(clone, number)
            ratios.append(study / bare)
            print(
                f"pair {number + 1}: study of {asked.trials} trials {study:.1f} s, bare {bare:.1f} s, "
                f"ratio {ratios[-1]:.3f}; beside its training a trial took {beside:.2f} s",
                flush=True,
            )
        print(f"median ratio of time over {asked.pairs} pairs: {statistics.median(ratios):.3f} (under 1 is wanted)")
        done = subprocess.run([sys.executable, "-c", MANY], cwd=clone, check=True, capture_output=True, text=True)
        print(done.stdout, end="")


if __name__ == "__main__":
    main()
