"""A grid that is trained at once with the workers of a study, by `python -m stages grid ... --now`."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages.base.processes import end_children
from tests.helpers.project import Project

pytestmark = pytest.mark.slow

GRID = (sys.executable, "-m", "stages", "grid")


def names(project: Project) -> set[str]:
    references = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    return {reference.rpartition("/")[2] for reference in references}


def trained(project: Project) -> list[tuple[int, int]]:
    lines = project.text(".cache/trained.jsonl").splitlines()
    return [(point["epochs"], point["imgsz"]) for point in map(json.loads, lines)]


def test_points_are_trained_once_and_are_experiments_with_test_metrics_and_runs_in_mlflow(
    quick: Project,
) -> None:
    project = quick
    first = project.run(*GRID, "epochs=1,2", "imgsz=32,64", "--now").stdout
    assert "3 of 4 points to train; finished before: baseline-" in first  # epochs 1, imgsz 64 is the baseline
    assert first.count(" on the test split, ") == 3
    assert names(project) == {"epochs-1_imgsz-32", "epochs-2_imgsz-32", "epochs-2_imgsz-64"}
    more = project.run(*GRID, "epochs=1,2,3", "imgsz=32,64", "--now").stdout
    assert "2 of 6 points to train; " in more
    assert len(trained(project)) == len(set(trained(project))) == 5
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    points = [point["revs"][0]["data"]["metrics"] for point in shown[1]["experiments"]]
    measured = [{path for path, metrics in point.items() if "data" in metrics} for point in points]
    assert measured == [{"reports/train/metrics.json", "reports/evaluate/metrics.json"}] * 5, "nothing is exported"
    project.run(sys.executable, "-m", "stages", "compare")
    table = csv.DictReader(io.StringIO(project.text("reports/comparison.csv")))
    assert all(row["test_mAP50"] for row in table if row["kind"] == "grid")
    assert "MLflow has every run that DVC keeps" in project.run(sys.executable, "-m", "stages", "sync").stdout
    project.replace("params.yaml", "lr0: 0.002", "lr0: 0.003")
    for way in (["--now"], []):
        refused = project.run(*GRID, "epochs=1,2", "imgsz=32", *way, check=False)
        assert (refused.returncode, refused.stderr) == (
            1,
            "error: epochs-1_imgsz-32: an experiment of this name has lr0 0.002, not 0.003: commit params.yaml, or "
            "remove the experiment with `dvc exp remove epochs-1_imgsz-32`\n",
        )


def test_a_killed_grid_goes_on_where_it_was(quick: Project) -> None:
    project = quick
    command = [*GRID, "epochs=1,2,3", "lr0=0.001,0.002,0.004", "--now"]
    environment = project.environment({"QUICK_SECONDS": "0.3"})
    for _ in range(2):
        before = len(names(project))
        process = subprocess.Popen(command, cwd=project.root, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(names(project)) < min(before + 2, 8):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        end_children(psutil.Process(process.pid))
        process.kill()
        process.wait()
    done = names(project)
    output = project.run(*command).stdout
    assert f"{8 - len(done)} of 9 points to train; " in output
    assert len(names(project)) == 8
    assert project.run("git", "fsck").returncode == 0


def test_what_cannot_be_trained_at_once_is_one_line(quick: Project) -> None:
    refused = quick.run(*GRID, "epochs=1,2", "data.seed=1,2", "--now", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "data.seed: `--now` varies training keys only" in refused.stderr
    failing = quick.run(*GRID, "batch=4,8", "--now", env={"QUICK_FAILS": "8"}, check=False)
    assert (failing.returncode, failing.stderr) == (
        1,
        "error: 1 of 1 points failed: batch-8; run the same command again\n",
    )
    assert Path(quick.root / ".study/logs/batch-8.log").is_file()
