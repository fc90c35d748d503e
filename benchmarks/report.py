"""Measure the decision report of a study with 2,000 trials: 20 s and 1 GB of memory at most are the goal.

    python -m benchmarks.report [--trials 2000]

The tables of the study are random, in the form that stage study writes. A fresh process reads them, and computes the
statistics, the figures and the text. Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import optuna

from benchmarks.common import at_least_one, delivered, run, scratch
from stages.base import failures
from stages.base.paths import ROOT
from stages.experiments.finished import COLUMNS as COMPARED
from stages.params import file as params_file
from stages.search.identity import identity
from stages.search.importances import importances
from stages.search.points import SearchSpace
from stages.search.tables import table

MEASURED = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
import psutil
from stages.decision import evidence
from stages.decision.confirmation import Confirmation, Repeat, first_settings
from stages.decision.verdict import decide
from stages.report.text import ReportInputs, render
study = evidence.read(Path(sys.argv[1]))
settings = first_settings(study)
repeats = [
    Repeat(setting.role, f"confirm-{place}-s{seed}", seed, 0.7 + place / 50 + seed / 200, 0.7 + place / 50, 40.0, 8.0)
    for place, setting in enumerate(settings)
    for seed in (1, 2, 3)
]
confirmation = Confirmation(settings, repeats, {})
data = {"splits": {split: {"images": 256, "boxes": 590} for split in ("train", "val", "test")}}
facts = {"source": "synthetic", "model": "yolov8n.yaml", "commit": "", "hardware": "", "versions": "", "staging": ""}
facts |= {"as_is": None, "tested": {"mAP50": 0.7}}
report = render(
    ReportInputs(evidence=study, data=data, confirmation=confirmation, decision=decide(confirmation), **facts)
)
seconds = time.perf_counter() - begun
memory = psutil.Process().memory_info()
peak = getattr(memory, "peak_wset", 0)
if not peak:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(f"{len(study.trials)} trials: report of {len(report.text)} characters and {len(report.figures)} figures "
      f"after {seconds:.1f} s, {peak / 2**20:.0f} MiB at most")
"""


def write_study(folder: Path, count: int) -> None:
    """Write the tables of a study at random points, whose results depend on epochs and lr0."""
    params = params_file.validate(delivered())
    space = SearchSpace(params)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(count):
        trial = study.ask(fixed_distributions=space.distributions)
        point = trial.params
        facts = {"name": f"tune-000000-{number:03d}", "source": "sampler", "seconds": 10.0 * point["epochs"]}
        for key, value in {**facts, "epochs": point["epochs"]}.items():
            trial.set_user_attr(key, value)
        study.tell(trial, 0.5 + point["epochs"] / 20 - abs(point["lr0"] - 0.002) * 10)
    trials = study.get_trials(deepcopy=False)
    summary = {
        "name": "tune-000000",
        **identity(params, "d" * 64, {}),
        "start": {"params": space.start, "mAP50": None},
        "best": None,
        "trials": {},
        "importances": importances(trials),
    }
    (folder / "study.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "trials.csv").write_text(table(trials, list(space.distributions)), encoding="utf-8")
    (folder / "compared.csv").write_text(",".join(COMPARED) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=at_least_one, default=2000)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = parser.parse_args().trials
    with scratch() as folder:
        write_study(folder, trials)
        print(run(["-c", MEASURED, str(folder)], ROOT), end="")


if __name__ == "__main__":
    failures.run(main)
