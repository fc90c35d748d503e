"""The pipeline in ZenML, as users run it, in a real repository with the quick training."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.experiments.lock import weights_digest
from tests.helpers.pipeline import mlflow_runs, process_of
from tests.helpers.project import FAKES, SOURCE, Project, copied, empty_home, make_project, written_to
from tests.helpers.study import lines_of_trials, trained

ZENML_PYTHON = Path(os.environ.get("ZENML_PYTHON") or SOURCE / ".venv-zenml" / "bin" / "python")
READER = Path(__file__).with_name("read_run.py")
HAS_ZENML = (
    ZENML_PYTHON.is_file()
    and not subprocess.run(
        [ZENML_PYTHON, "-c", "import importlib.util as util, sys; sys.exit(util.find_spec('zenml') is None)"],
        check=False,
    ).returncode
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.zenml,
    pytest.mark.skipif(sys.platform == "win32", reason="the quick training is started by a shell script"),
    pytest.mark.skipif(not HAS_ZENML, reason=f"{ZENML_PYTHON} has no ZenML: run `make zenml-test`"),
]

# Python imports a module of this name at its start. This one notes each host that the process asks for.
WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open({notes!r}, "a") as file:
            file.write(f"{{event}} {{arguments}}\\n")
sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Pipeline:
    """A repository in which the pipeline runs in ZenML.

    Attributes:
        project: The repository.
        home: The user's home.
        notes: The file that lists the hosts that ZenML's process has asked for.
    """

    project: Project
    home: Path
    notes: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the pipeline from another folder than the repository."""
        process = self.start(*arguments, **variables)
        output, errors = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the pipeline in a process group of its own."""
        return self._python(self.project.root / "integrations" / "zenml" / "pipeline.py", *arguments, **variables)

    def last_run(self) -> dict[str, Any]:
        """Return the last run, as ZenML's database has it."""
        kept = {"ZENML_CONFIG_PATH": f"{self.project.root}/.zenml", "ZENML_ANALYTICS_OPT_IN": "false"}
        process = self._python(READER, **kept)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return dict(json.loads(output.splitlines()[-1]))

    def _python(self, script: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        kept = {key: value for key, value in self.project.environment().items() if not key.startswith("ZENML_")}
        home = {"HOME": str(self.home), "XDG_CONFIG_HOME": f"{self.home}/.config", "PYTHONPATH": str(self.notes.parent)}
        project_python = {"PROJECT_PYTHON": str(self.home.parent / "bin" / "python")}
        return subprocess.Popen(
            [ZENML_PYTHON, script, *arguments],
            cwd=self.home,
            env={**kept, **home, **project_python, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def in_zenml(project: Project, folder: Path) -> Pipeline:
    """Return the pipeline of a repository. The folder gets a home, a Python that trains quickly, and the notes."""
    empty_home(folder / "home")
    notes = folder / "watch" / "asked"
    notes.parent.mkdir()
    (notes.parent / "sitecustomize.py").write_text(WATCH.format(notes=str(notes)), encoding="utf-8")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={FAKES} exec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return Pipeline(project, folder / "home", notes)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A repository without results after one run of the pipeline."""
    folder = tmp_path_factory.mktemp("zenml")
    pipeline = in_zenml(make_project(folder / "repository", quick=True), folder)
    done = pipeline.run()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return pipeline


@pytest.fixture(scope="module")
def run(completed: Pipeline) -> dict[str, Any]:
    return completed.last_run()


def test_the_artifacts_are_the_results_that_the_stages_wrote(completed: Pipeline, run: dict[str, Any]) -> None:
    assert run["status"] == "completed"
    assert run["steps"] == dict.fromkeys(("prepare", "train", "evaluate", "export", "decide"), "completed")
    project = completed.project
    assert run["artifacts"] == {
        "data": json.loads(project.text("reports/data/summary.json")),
        "validation": json.loads(project.text("reports/train/metrics.json")),
        "model": run["artifacts"]["model"],
        "test": json.loads(project.text("reports/evaluate/metrics.json")),
        "exported": json.loads(project.text("reports/export/metrics.json")),
        "decision": project.text("reports/decision.md"),
    }
    assert run["artifacts"]["model"]["path"] == "models/best.pt"
    assert run["artifacts"]["model"]["md5"] == weights_digest(project.root)
    assert run["types"]["model"] == "ModelArtifact"
    assert len(trained(project)) == 1


def test_the_model_names_its_commit_its_digest_and_its_run_in_mlflow(completed: Pipeline, run: dict[str, Any]) -> None:
    project, metadata = completed.project, run["metadata"]
    ((name, mlflow_run),) = mlflow_runs(project).items()
    assert run["model"] == "person-detector"
    assert metadata["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert metadata["model_md5"] == weights_digest(project.root)
    assert (metadata["mlflow_run_name"], metadata["mlflow_run_id"]) == (name, mlflow_run.info.run_id)
    for split, report in (("val", "train"), ("test", "evaluate")):
        metrics = json.loads(project.text(f"reports/{report}/metrics.json"))
        assert {key: metadata[f"{split}/{key}"] for key in metrics} == metrics
    assert run["step_metadata"]["train"]["model_md5"] == metadata["model_md5"]


def test_everything_is_inside_the_repository_and_nothing_is_sent(completed: Pipeline) -> None:
    assert written_to(completed.home) == []
    assert (completed.project.root / ".zenml").is_dir()
    assert completed.project.run("git", "status", "--porcelain", "--", ".zenml").stdout == ""
    assert not completed.notes.exists(), completed.notes.read_text(encoding="utf-8")


def test_a_failed_stage_ends_the_run_with_one_line(completed: Pipeline, tmp_path: Path) -> None:
    pipeline = in_zenml(copied(completed.project, tmp_path / "repository", ".zenml"), tmp_path)
    pipeline.project.replace("params.yaml", "batch: 4", "batch: 8")
    done = pipeline.run(QUICK_FAILS="8")
    assert done.returncode == 1
    assert "the quick training was told to fail" in done.stdout
    assert done.stderr.splitlines()[-1] == "error: `dvc repro train` ended with status 255"
    assert "Traceback" not in done.stdout + done.stderr
    run = pipeline.last_run()
    assert run["status"] == "failed"
    assert run["steps"] == {"prepare": "completed", "train": "failed"}


def test_ctrl_c_ends_the_stage_and_the_run_with_one_line(completed: Pipeline, tmp_path: Path) -> None:
    pipeline = in_zenml(copied(completed.project, tmp_path / "repository", ".zenml"), tmp_path)
    pipeline.project.replace("params.yaml", "seed: 0 ", "seed: 1 ")
    process = pipeline.start(QUICK_SECONDS="100")
    process_of("stages.train", pipeline.project.root, process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in output + errors
    assert not any(json.loads(pipeline.project.text(".dvc/tmp/rwlock")).values()), "DVC still holds its lock"


def test_a_study_is_searched_before_the_training_and_decided(completed: Pipeline, tmp_path: Path) -> None:
    project = copied(completed.project, tmp_path / "repository", ".zenml")
    project.commit("the baseline")
    pipeline = in_zenml(project, tmp_path)
    done = pipeline.run("--study")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(lines_of_trials(done.stdout)) == 3, "the search did not run exactly once"
    run = pipeline.last_run()
    study = json.loads(project.text("reports/study/study.json"))
    assert run["artifacts"]["study"] == study
    assert run["metadata"]["study"] == study["name"]
    assert study["name"] in run["artifacts"]["decision"]
    assert run["artifacts"]["decision"] == project.text("reports/decision.md")


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "line"),
    [
        ([], {"PROJECT_PYTHON": "/nowhere/python"}, 1, "error: /nowhere/python is not a Python: run `make baseline`"),
        (["study"], {}, 2, "pipeline.py: error: unrecognized arguments: study"),
    ],
    ids=["python", "argument"],
)
def test_wrong_use_is_one_line(
    completed: Pipeline, arguments: list[str], variables: dict[str, str], status: int, line: str
) -> None:
    done = completed.run(*arguments, **variables)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr
