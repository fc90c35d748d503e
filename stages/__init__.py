"""A pipeline that trains, tunes and evaluates a person detector: a module for each stage, and packages by subject."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before the first import of MLflow, which reads it
