"""The stages of dvc.yaml as a ZenML pipeline.

    python integrations/zenml/pipeline.py [--study]

The Python is that of ZenML's environment. Each step runs `dvc repro` in the project's environment and hands on the
results that the stage has written. DVC decides which stages run again, so ZenML's cache is off. DVC also keeps the
data and the model: the artifact `model` is the entry of the file in dvc.lock, not a copy. PROJECT_PYTHON names the
project's Python if it is not in .venv.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parents[2]
VENV_PYTHON = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PYTHON = Path(os.environ.get("PROJECT_PYTHON") or VENV_PYTHON).absolute()

# ZenML reads these at its import. By default it writes to the user's home, sends usage data and opens a browser.
os.environ.setdefault("ZENML_CONFIG_PATH", str(ROOT / ".zenml"))
os.environ["ZENML_ANALYTICS_OPT_IN"] = "false"
os.environ["ZENML_AUTO_OPEN_DASHBOARD"] = "false"
os.environ["ZENML_ENABLE_REPO_INIT_WARNINGS"] = "false"  # `zenml init` is not needed
os.environ["UV_NO_CACHE"] = "1"  # ZenML lists its packages with uv, which makes its cache in the user's home

try:
    import yaml
    from zenml import ArtifactConfig, Model, log_metadata, pipeline, step
    from zenml.enums import ArtifactType, ExecutionMode
    from zenml.exceptions import RunInterruptedException
    from zenml.types import MarkdownString
except ImportError as error:
    sys.exit(f"error: {sys.executable} has no {error.name}: install integrations/zenml/requirements.txt in .venv-zenml")


class StageFailed(Exception):
    """A command of the project has failed. Its own lines are in the log."""


# The project's commands -----------------------------------------------------------------------------------------------


def environment(study: str = "defer") -> dict[str, str]:
    """Return the variables for a command of the project: its Python first, and nothing of ZenML's environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ZENML", "PYTHON", "VIRTUAL_ENV"))}
    path = f"{PYTHON.parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "STUDY": study, "PYTHONUNBUFFERED": "1"}  # lines are shown when they are printed


def repro(*arguments: str, study: str = "defer") -> None:
    """Run `dvc repro`, and print its lines, so that ZenML has them in the log of the step.

    Raises:
        StageFailed: The command has failed.
    """
    with subprocess.Popen(
        [PYTHON, "-m", "dvc", "repro", *arguments],
        cwd=ROOT,
        env=environment(study),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line.rstrip())
        finally:
            process.wait()  # after Ctrl-C too, which reaches DVC as well: it ends its stage and frees its lock
    if process.returncode:
        raise StageFailed(f"`dvc repro {' '.join(arguments)}` ended with status {process.returncode}")


def result(path: str) -> dict[str, Any]:
    """Return a report of a stage."""
    return dict(json.loads((ROOT / path).read_text(encoding="utf-8")))


def locked_model() -> dict[str, Any]:
    """Return the entry of models/best.pt in dvc.lock: path, hash, md5, size."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return next(dict(out) for out in stages["train"]["outs"] if out["path"] == "models/best.pt")


def mlflow_run() -> dict[str, str]:
    """Return the name and the id of the run in MLflow that has the present results; nothing if there is none."""
    command: list[str | Path] = [PYTHON, "-m", "integrations.zenml.mlflow_run"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        *_, reason = done.stderr.splitlines() or [""]
        print(f"warning: the metadata does not name the run in MLflow: {reason.removeprefix('error: ')}")
        return {}
    return dict(json.loads(done.stdout))


def commit() -> str:
    """Return the full hash of the last commit; empty before the first one."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def describe(**facts: Any) -> None:
    """Add facts to the metadata of the step and of the model's version."""
    log_metadata(facts)
    log_metadata(facts, infer_model=True)


# The steps ------------------------------------------------------------------------------------------------------------


@step
def prepare() -> Annotated[dict[str, Any], "data"]:
    """Prepare the data set, and return its summary."""
    repro("prepare")
    summary = result("reports/data/summary.json")
    describe(commit=commit(), data_digest=summary["digest"])
    return summary


@step
def study(data: dict[str, Any]) -> Annotated[dict[str, Any], "study"]:
    """Search with Optuna. Stage study writes the best parameters to params.yaml."""
    repro("study", study="run")
    summary = result("reports/study/study.json")
    describe(study=summary["name"])
    return summary


@step
def train(
    data: dict[str, Any], study: dict[str, Any] | None
) -> tuple[
    Annotated[dict[str, float], "validation"],
    Annotated[dict[str, Any], ArtifactConfig(name="model", artifact_type=ArtifactType.MODEL)],
]:
    """Train one model from params.yaml, and return the metrics of the validation split and DVC's entry of the model."""
    repro("train")
    metrics, model = result("reports/train/metrics.json"), locked_model()
    describe(model_md5=model["md5"], **{f"val/{name}": value for name, value in metrics.items()})
    return metrics, model


@step
def evaluate(data: dict[str, Any], model: dict[str, Any]) -> Annotated[dict[str, float], "test"]:
    """Measure the model on the test split."""
    repro("evaluate")
    metrics = result("reports/evaluate/metrics.json")
    describe(**mlflow_run(), **{f"test/{name}": value for name, value in metrics.items()})
    return metrics


@step
def export(test: dict[str, float], model: dict[str, Any]) -> Annotated[dict[str, float], "exported"]:
    """Export the model to the formats of params.yaml, and return their metrics."""
    repro("export")
    return result("reports/export/metrics.json")


@step
def decide(
    validation: dict[str, float], exported: dict[str, float], study: dict[str, Any] | None
) -> Annotated[MarkdownString, "decision"]:
    """Decide, and return the report. Without a study this is a short report."""
    # --single-item: the study has run, and a command that names stage tune would start it again.
    repro("--single-item", "tune", study="run" if study else "defer")
    return MarkdownString((ROOT / "reports/decision.md").read_text(encoding="utf-8"))


@pipeline(enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST, model=Model(name="person-detector"))
def person_detection(search: bool) -> None:
    """Order the steps as dvc.yaml orders the stages."""
    data = prepare()
    best = study(data) if search else None
    validation, model = train(data, best)
    decide(validation, export(evaluate(data, model), model), best)


# The command ----------------------------------------------------------------------------------------------------------


def without_traceback(record: logging.LogRecord) -> bool:
    """Return whether ZenML may log a record: a failed stage has printed its reason, and needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], StageFailed | RunInterruptedException))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the stages of dvc.yaml as a ZenML pipeline.")
    parser.add_argument("--study", action="store_true", help="search with Optuna before the training, and decide")
    arguments = parser.parse_args()
    if not (ROOT / "dvc.yaml").is_file():
        sys.exit(f"error: {ROOT} has no dvc.yaml: this file must be in integrations/zenml of the repository")
    if not shutil.which(PYTHON):
        sys.exit(f"error: {PYTHON} is not a Python: run `make baseline`, or set PROJECT_PYTHON to the project's Python")
    for handler in logging.getLogger().handlers:
        handler.addFilter(without_traceback)
    try:
        person_detection(search=arguments.study)
    except StageFailed as failure:
        sys.exit(f"error: {failure}")
    except (KeyboardInterrupt, RunInterruptedException):
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
