"""Stage study: search with Optuna, and write the best parameters to params.yaml.

    python -m stages.study

The stage ends at once unless a command asks for a study, as `dvc exp run tune` does. It reads params.yaml and
data/prepared. It writes reports/study (study.json, trials.csv, history.csv, compared.csv). If a trial beats the values
in params.yaml, it writes the searched keys there too.
"""

from __future__ import annotations

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.git import experiment_name
from stages.base.paths import MODEL, REPORTS, ROOT
from stages.experiments import command, refs
from stages.experiments.identity import code_digests
from stages.experiments.lock import dependencies, read_lock
from stages.experiments.results import is_evaluated, stale_reason

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
    refs.discard_damaged_model()  # before stage train, which DVC would skip
    request = command.read_request()
    if request.is_for_study:
        from stages.search.run import run_study  # takes seconds, and each `dvc repro` runs this stage

        run_study(REPORT)
    else:
        print(f"no study was asked for: `dvc exp run tune` runs one ({request.source})")
    mirror_if_nothing_will_change()


def mirror_if_nothing_will_change() -> None:
    """Mirror the results in the workspace under the name of this experiment, if DVC will not make them again.

    After a kill the same command is another experiment, with another name, and may find all results ready.
    """
    if experiment_name() is None or not is_evaluated(ROOT) or stale_reason(ROOT):
        return
    if code_digests("train").items() <= dependencies(read_lock(ROOT), "train").items():
        from stages.tracking.sync import mirror_this_run  # takes seconds, and is rarely needed

        mirror_this_run(MODEL, "study")


if __name__ == "__main__":
    failures.run(main)
