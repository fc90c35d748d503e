"""Stage study: search with Optuna, and write the best parameters to params.yaml.

    python -m stages.study

The stage ends at once unless a command asks for a study, as `dvc exp run tune` does. It reads params.yaml and
data/prepared. It writes reports/study (study.json, trials.csv, history.csv, compared.csv). If a trial beats the values
in params.yaml, it writes the searched keys there too.
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
    "compared.csv": "name,source,mAP50,seconds,test_mAP50,ms_per_image,model_mb\n",
}


def main() -> None:
    for name, content in PLACEHOLDERS.items():  # DVC requires every output of a stage
        if not (REPORT / name).exists():
            write_atomic(REPORT / name, content)
    request = command.read_request()
    if request.is_for_study:
        from stages.search.run import run_study  # takes seconds, and each `dvc repro` runs this stage

        run_study(REPORT)
    else:
        print(f"no study was asked for: `dvc exp run tune` runs one ({request.source})")


if __name__ == "__main__":
    failures.run(main)
