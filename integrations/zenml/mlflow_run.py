"""Print the name and the id of the run in MLflow that has the results of the workspace, as JSON.

    python -m integrations.zenml.mlflow_run

The pipeline runs this with the project's Python, because ZenML's environment has no MLflow.
"""

from __future__ import annotations

import json

from stages.base import failures
from stages.base.failures import Failure
from stages.base.git import commit, experiment_name, run_name
from stages.base.paths import ROOT
from stages.tracking import record
from stages.tracking.store import Store, Unreachable, unusable


def main() -> None:
    results = record.record(ROOT, run_name(), commit(), experiment_name(), model=None)
    try:
        store = Store()
        runs = store.client.search_runs([store.experiment], f"tags.content = '{results.content}'", max_results=1)
    except Unreachable as error:
        raise Failure(unusable(error)) from error
    facts = {"mlflow_run_name": runs[0].info.run_name, "mlflow_run_id": runs[0].info.run_id} if runs else {}
    print(json.dumps(facts))


if __name__ == "__main__":
    failures.run(main)
