"""A pipeline that trains, tunes and judges a person detector: one module a stage, and the subjects that they share."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before any module here imports MLflow, which reads it then
