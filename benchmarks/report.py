"""The decision report of a study with 2,000 trials: seconds (20 at most are wanted) and peak memory (1 GB at most).

    python -m benchmarks.report [--trials 2000]

The tables of the study are made up, in the form that stage study writes; reading them, the statistics, the figures and
the text are measured in a fresh process, without training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna

from stages.experiments.finished import COLUMNS as COMPARED
from stages.params import file as params_file
from stages.search.sampling import distribution
from stages.search.study import identity
from stages.search.tables import table

MEASURED = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
import psutil
from stages.decision import evidence
from stages.decision.confirmation import Confirmation, Repeat, first_settings
from stages.decision.verdict import decide
from stages.report.text import Subject, report
found = evidence.read(Path(sys.argv[1]))
settings = first_settings(found)
repeats = [
    Repeat(setting.role, f"confirm-{place}-s{seed}", seed, 0.7 + place / 50 + seed / 200, 0.7 + place / 50, 40.0, 8.0)
    for place, setting in enumerate(settings)
    for seed in (1, 2, 3)
]
done = Confirmation(settings, repeats, {})
data = {"splits": {split: {"images": 256, "boxes": 590} for split in ("train", "val", "test")}}
about = {"source": "synthetic", "model": "yolov8n.yaml", "commit": "", "hardware": "", "versions": "", "staging": ""}
made = report(Subject(evidence=found, data=data, done=done, decision=decide(done), tested={"mAP50": 0.7}, **about))
seconds = time.perf_counter() - begun
memory = psutil.Process().memory_info()
peak = getattr(memory, "peak_wset", 0)
if not peak:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(f"{len(found.trials)} trials: report of {len(made.text)} characters and {len(made.figures)} figures "
      f"after {seconds:.1f} s, {peak / 2**20:.0f} MiB at most")
"""


def write_study(folder: Path, count: int) -> None:
    """The tables of a study of random points, whose result depends on epochs and lr0."""
    given = params_file.load()
    about = identity(given, "d" * 64, {})
    distributions = {
        key: distribution(dimension, given.whole(key) and dimension.is_whole())
        for key, dimension in given.tune.space.items()
    }
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(count):
        trial = study.ask(fixed_distributions=distributions)
        point = trial.params
        facts = {"name": f"tune-000000-{number:03d}", "source": "sampler", "seconds": 10.0 * point["epochs"]}
        for key, value in {**facts, "epochs": point["epochs"]}.items():
            trial.set_user_attr(key, value)
        study.tell(trial, 0.5 + point["epochs"] / 20 - abs(point["lr0"] - 0.002) * 10)
    start = {key: value for key, value in given.written().items() if key in distributions}
    (folder / "study.json").write_text(
        json.dumps(
            {"name": "tune-000000", **about, "start": {"params": start, "mAP50": None}, "best": None, "trials": {}}
        ),
        encoding="utf-8",
    )
    (folder / "trials.csv").write_text(table(study.get_trials(deepcopy=False), list(distributions)), encoding="utf-8")
    (folder / "compared.csv").write_text(",".join(COMPARED) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder), parser.parse_args().trials)
        subprocess.run([sys.executable, "-c", MEASURED, folder], check=True)


if __name__ == "__main__":
    main()
