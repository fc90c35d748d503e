"""Print the last run in ZenML as JSON: states, artifacts and metadata.

ZenML's Python runs this. It is a file, because ZenML 0.98 loads artifacts only if the main module has one.
"""

from __future__ import annotations

import json

from zenml.client import Client

run = Client().list_pipeline_runs(sort_by="desc:created", size=1)[0]
outputs = {name: artifact for step in run.steps.values() for name, (artifact, *_) in step.outputs.items()}
print(
    json.dumps(
        {
            "status": run.status.value,
            "steps": {name: step.status.value for name, step in run.steps.items()},
            "artifacts": {name: artifact.load() for name, artifact in outputs.items()},
            "types": {name: artifact.type.value for name, artifact in outputs.items()},
            "model": run.model_version.model.name,
            "metadata": run.model_version.run_metadata,
            "step_metadata": {name: step.run_metadata for name, step in run.steps.items()},
        }
    )
)
