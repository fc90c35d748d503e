"""Stage study: Optuna's search, and the best parameters written to params.yaml.

    python -m stages.study

Ends at once unless a command asks for it: `dvc exp run tune` does. Reads params.yaml and data/prepared; writes
reports/study (study.json, trials.csv, history.csv, compared.csv) and, where a trial was better than what params.yaml
holds, its searched keys.
"""

from __future__ import annotations

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import REPORTS
from stages.experiments import command

REPORT = REPORTS / "study"
PLACEHOLDERS = {
    "ready": "what is trained next is in params.yaml\n",
    "study.json": "{}\n",
    "trials.csv": "number,name,source,state,mAP50,best\n",
    "history.csv": "number,mAP50,best\n",
    "compared.csv": "name,source,mAP50,seconds,test_mAP50,ms_per_image\n",
}


def main() -> None:
    for name, content in PLACEHOLDERS.items():  # DVC wants to see every file of a stage
        if not (REPORT / name).exists():
            write_atomic(REPORT / name, content)
    if command.is_asked_for():
        from stages.search.run import tune  # takes seconds, and each `dvc repro` and each point of a grid comes by

        tune(REPORT)
    else:
        print("no study was asked for: `dvc exp run tune` runs one")


if __name__ == "__main__":
    failures.run(main)
