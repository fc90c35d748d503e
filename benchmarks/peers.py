"""Compare this project's study with other searches: best mAP50 so far over the seconds, on one core each.

    python -m benchmarks.peers [--budget 420] [--seeds 0 1 2]

The data are drawn images on which no default was chosen. Every search has the same time from the start of its process,
one thread and the same model, in a fresh clone of its own:

- this project: `python -m stages.study` with the defaults and one worker, without any earlier result
- Optuna: `random`, `TPE`, and `TPE and successive halving`, on the same search space with this project's train()
- Ultralytics: `model.tune` with its own search space, and with the epochs, imgsz and batch of params.yaml

The value is mAP50 on the validation split. As many searches run at once as there are cores, in turn for each seed. Each
is kept on a core of its own, so this needs Linux. The processes in which `model.tune` trains have as many threads as
Ultralytics chooses: one on a machine with two cores.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue

import psutil

from benchmarks.common import environment, fresh_clone, last_line, run
from stages.base import failures
from stages.base.failures import Failure
from stages.base.formatting import markdown_table
from stages.report.machine import hardware, versions

MARKS = (75, 120, 180, 240, 300, 420)  # seconds
DATA_SEED = 11

OPTUNA = """
import sys
from pathlib import Path
import optuna
from stages.base.paths import DATA
from stages.detector.training import train
from stages.detector.ultralytics import set_threads
from stages.params import file as params_file
from stages.search.points import SearchSpace
kind, seed = sys.argv[1], int(sys.argv[2])
set_threads(1)
space = SearchSpace(params_file.load())
random, tpe = optuna.samplers.RandomSampler(seed=seed), optuna.samplers.TPESampler(seed=seed)
halving = optuna.pruners.SuccessiveHalvingPruner()
study = optuna.create_study(
    direction="maximize",
    sampler=random if kind == "random" else tpe,
    pruner=halving if kind == "halving" else optuna.pruners.NopPruner(),
)
best = 0.0
while True:
    trial = study.ask(fixed_distributions=space.distributions)
    def on_epoch(epoch):
        trial.report(epoch.metrics["mAP50"], epoch.number)
        if epoch.number < epoch.of and trial.should_prune():
            raise optuna.TrialPruned
    try:
        value = train(space.arguments(trial.params), DATA, Path("trial"), [on_epoch]).metrics["mAP50"]
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        continue
    study.tell(trial, value)
    best = max(best, value)
    print("best", best, flush=True)
"""

TUNE = """
import sys
from pathlib import Path
from stages.detector.ultralytics import set_threads
from stages.params import file as params_file
from ultralytics import YOLO
set_threads(1)
params = params_file.load()
YOLO(params.model).tune(
    data=str(Path("data/prepared/data.yaml").resolve()), epochs=params.epochs, imgsz=params.imgsz, batch=params.batch,
    device="cpu", iterations=10_000, plots=False, seed=int(sys.argv[1]), project=str(Path("tune").resolve()), workers=0,
)
"""

Best = list[tuple[float, float]]
"""The seconds since the start of a search and the best mAP50 then, ascending."""


def printed(process: subprocess.Popen[str], clone: Path) -> Iterator[float]:
    """Yield the best mAP50 each time a search prints it."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"\bbest:? (0\.\d+)", line):
            yield float(found[1])


def written(process: subprocess.Popen[str], clone: Path) -> Iterator[float]:
    """Yield the best mAP50 each time `model.tune` adds a result to its file."""
    seen, best = 0, 0.0
    while process.poll() is None:
        time.sleep(1)
        for file in clone.rglob("tune_results.ndjson"):
            lines = file.read_text(encoding="utf-8").splitlines()
            for line in lines[seen:]:
                metrics = next(iter(json.loads(line)["datasets"].values()))
                best = max(best, metrics.get("metrics/mAP50(B)", 0.0))
                yield best
            seen = len(lines)


Watcher = Callable[["subprocess.Popen[str]", Path], Iterator[float]]

SEARCHES: dict[str, tuple[list[str], Watcher]] = {
    "this project": (["-m", "stages.study"], printed),
    "Optuna, random": (["-c", OPTUNA, "random"], printed),
    "Optuna, TPE": (["-c", OPTUNA, "tpe"], printed),
    "Optuna, TPE and successive halving": (["-c", OPTUNA, "halving"], printed),
    "Ultralytics model.tune": (["-c", TUNE], written),
}


def search(name: str, seed: int, budget: float, core: int) -> Best:
    """Run a search for a time on one core, and return its best value so far at each of its results.

    Raises:
        Failure: The search ended with an error.
    """
    arguments, watch = SEARCHES[name]
    with fresh_clone() as clone:
        variables = {"YOLO_CONFIG_DIR": str(clone / ".yolo"), "MPLBACKEND": "agg"}
        preset = ("preset", "drawn", f"data.seed={DATA_SEED}", f"tune.seed={seed}", "tune.workers=1")
        for command in (["-m", "stages", *preset], ["-m", "dvc", "repro", "prepare"]):
            run(command, clone, variables)
        best: Best = []
        command = [sys.executable, *arguments, *([] if name == "this project" else [str(seed)])]
        log = clone / "errors.log"
        begun = time.monotonic()
        with (
            log.open("w", encoding="utf-8") as errors,
            subprocess.Popen(
                command, cwd=clone, env=environment(variables), stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            timer = threading.Timer(budget, end, [process])
            try:
                psutil.Process(process.pid).cpu_affinity([core])  # before it starts others, which take it over
                timer.start()
                for value in watch(process, clone):
                    best.append((time.monotonic() - begun, value))
                if process.wait() and time.monotonic() - begun < budget:
                    raise Failure(f"{name} ended with status {process.returncode}: {last_line(log.read_text('utf-8'))}")
            finally:
                timer.cancel()
                end(process)
        return best


def end(process: subprocess.Popen[str]) -> None:
    """End a search that still runs, with the processes that it has started: `model.tune` trains in some."""
    if process.poll() is not None:
        return
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        parent.suspend()  # it starts no further process
        for each in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                each.kill()


def value_at(best: Best, seconds: float) -> float | None:
    """Return the best value at a time; None if there was none yet."""
    return max((value for time_, value in best if time_ <= seconds), default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=420, help="seconds of each search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("this comparison needs Linux, which keeps a search on one core")
    runs = [(name, seed) for seed in options.seeds for name in SEARCHES]
    print(f"{datetime.now():%Y-%m-%d}; {hardware()}; {versions()}", flush=True)
    cores: SimpleQueue[int] = SimpleQueue()
    available = psutil.Process().cpu_affinity() or [0]
    for core in available:
        cores.put(core)

    def play(of: tuple[str, int]) -> Best:
        core = cores.get()
        try:
            best = search(*of, options.budget, core)
        except Failure as failure:  # the others go on, and the table shows a gap
            print(f"{of[0]}, seed {of[1]}: {failure}", file=sys.stderr, flush=True)
            return []
        finally:
            cores.put(core)
        print(f"{of[0]}, seed {of[1]}: {value_at(best, options.budget)} after {len(best)} results", flush=True)
        return best

    with ThreadPoolExecutor(len(available)) as pool:
        results = dict(zip(runs, pool.map(play, runs), strict=True))
    marks = [mark for mark in MARKS if mark <= options.budget]
    rows = []
    for name, seed in sorted(runs, key=lambda run: (list(SEARCHES).index(run[0]), run[1])):
        values = [value_at(results[name, seed], mark) for mark in marks]
        rows.append([name, str(seed), *("-" if value is None else f"{value:.3f}" for value in values)])
    print("\n".join(markdown_table(("search", "seed", *(f"{mark} s" for mark in marks)), rows)))
    for name in SEARCHES:
        last = [value_at(results[name, seed], options.budget) or 0.0 for seed in options.seeds]
        print(f"{name}: median of the seeds at the end {statistics.median(last):.3f}")


if __name__ == "__main__":
    failures.run(main)
