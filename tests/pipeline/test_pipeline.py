"""The commands that users type, with the real dvc in a real repository."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from stages.data.images import read_image
from stages.experiments.results import stale_reason
from tests.helpers.photographs import WEIGHTS, make_zip, real
from tests.helpers.pipeline import UP_TO_DATE, mlflow_runs, posix, process_of, ran, results, shown_experiments
from tests.helpers.project import SOURCE, Project, make_project, written_to

pytestmark = pytest.mark.slow


# The baseline ---------------------------------------------------------------------------------------------------------


def test_repro_makes_model_metrics_curves_and_pictures(baseline: Project) -> None:
    for path in ("models/best.pt", "data/prepared/data.yaml", "reports/train/plots/metrics/mAP50.tsv"):
        assert (baseline.root / path).is_file()
    validation = json.loads(baseline.text("reports/train/metrics.json"))
    test = json.loads(baseline.text("reports/evaluate/metrics.json"))
    costs = {"train_seconds", "ms_per_image", "model_mb"}
    assert set(validation) == {"mAP50", "mAP50-95", "precision", "recall", "step"} | costs
    assert set(test) >= {"mAP50", "mAP50-95", "precision", "recall", "ms_per_image", "threshold", "lost_missed"}
    assert test["ms_per_image"] > 0
    for picture in ("reports/data/samples.png", "reports/evaluate/plots/predictions.png"):
        assert read_image(baseline.root / picture).shape[1] > 600
    assert not list((baseline.root / "data").rglob("*.cache"))


def test_a_second_repro_has_nothing_to_do(project: Project) -> None:
    assert ran(project.run("dvc", "repro").stdout) == []
    assert project.run("dvc", "status").stdout.split() == UP_TO_DATE
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_metrics_and_plots_are_shown_in_a_clone_without_data(baseline: Project, tmp_path: Path) -> None:
    baseline.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert "mAP50" in clone.run("dvc", "metrics", "show").stdout
    clone.run("dvc", "plots", "show", "--out", "plots")
    page = clone.text("plots/index.html")
    for part in (
        "metrics/mAP50.tsv",
        "Precision and recall on the test split",
        "Confusion on the test split",
        "Points of mAP50 lost by kind of error",
        "Calibration on the test split",
        "worst.png",
    ):
        assert part in page
    assert list((clone.root / "plots").rglob("*predictions.png"))


def test_another_operating_point_is_measured_without_a_training(quick: Project) -> None:
    done = quick.run("dvc", "exp", "run", "-n", "precise", "-S", "evaluate.threshold={precision: 0.9}")
    assert ran(done.stdout) == ["check", "evaluate"]
    assert "({precision: 0.9} on the validation split)" in done.stdout
    assert mlflow_runs(quick)["precise"].data.params["evaluate.threshold.precision"] == "0.9"


def test_the_run_is_whole_in_mlflow(baseline: Project) -> None:
    first = baseline.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    (name, run), *others = mlflow_runs(baseline).items()
    assert not others
    assert name == f"baseline-{first[:7]}"
    assert run.info.status == "FINISHED"
    summary = json.loads(baseline.text("reports/data/summary.json"))
    assert run.data.tags["git.commit"] == first
    assert run.data.tags["data.digest"] == summary["digest"]
    assert [given.dataset.digest for given in run.inputs.dataset_inputs] == [summary["digest"][:36]]
    assert run.data.tags["dvc.stage"] == "evaluate"
    assert run.data.params["data.source"] == "synthetic"
    test = json.loads(baseline.text("reports/evaluate/metrics.json"))
    assert {key: run.data.metrics[f"test/{key}"] for key in test} == test
    client = MlflowClient(f"sqlite:///{baseline.root}/mlflow.db")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "mAP50")] == [1]
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"model", "reports", "params.yaml", "dvc.lock"}


def test_a_model_that_comes_out_the_same_is_not_evaluated_again_and_still_whole_in_mlflow(project: Project) -> None:
    """A fresh clone has results and no data: what it trains may be what was evaluated before."""
    shutil.rmtree(project.root / ".dvc" / "cache")
    shutil.rmtree(project.root / "models")
    assert ran(project.run("dvc", "repro").stdout) == ["prepare", "train"]
    (run,) = mlflow_runs(project).values()
    test = json.loads(project.text("reports/evaluate/metrics.json"))
    assert {key: run.data.metrics[f"test/{key}"] for key in test} == test
    assert not list((project.root / ".mlflow" / "pending").iterdir())


def test_nothing_is_written_to_the_users_home(baseline: Project) -> None:
    home = baseline.root.parent / "home"
    assert home.is_dir()
    assert written_to(home) == []


# Wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("epochs=abc", "params.yaml: epochs: 'abc' is not allowed; it must be a whole number"),
        ("device=7", "device: 7 does not exist on this machine"),
        ("model=nope.yaml", "model: 'nope.yaml' is neither a file nor a detector"),
    ],
)
def test_a_wrong_value_is_one_line_and_touches_nothing(project: Project, change: str, told: str) -> None:
    before = results(project)
    done = project.run("dvc", "exp", "run", "-S", change, check=False)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert results(project) == before


def test_an_unknown_key_is_refused(project: Project) -> None:
    before = results(project)
    project.replace("params.yaml", "epochs:", "epoch: 3  # a slip\nepochs:")
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "params.yaml: epoch: not a key of this project" in done.stderr
    assert results(project) == before


def test_without_a_network_the_line_says_how_to_get_the_weights(project: Project) -> None:
    before = results(project)
    offline = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    done = project.run("dvc", "exp", "run", "-S", "model=yolov8n.pt", env=offline, check=False)
    assert done.returncode != 0
    for told in ("yolov8n.pt cannot be fetched", "sha256 f59b3d83", "weights", "model: yolov8n.yaml"):
        assert told in done.stderr
    assert results(project) == before


def truncate(folder: Path) -> None:
    image = folder / "images" / "3.jpg"
    image.write_bytes(image.read_bytes()[:300])


def test_damaged_data_is_one_line_and_the_old_data_stays(project: Project, photograph: Callable[..., Path]) -> None:
    for n in range(6):
        label = photograph(f"mine/images/{n}.jpg").parents[1] / "labels" / f"{n}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("0 0.5 0.5 0.4 0.6\n", encoding="utf-8")
    folder = project.root.parent / "mine"
    truncate(folder)
    before = results(project)
    arguments = ["-S", "data.source=yolo", "-S", f"data.path={folder}"]
    arguments += [argument for split in ("train", "val", "test") for argument in ("-S", f"data.split.{split}=null")]
    done = project.run("dvc", "exp", "run", *arguments, check=False)
    assert done.returncode != 0
    assert "images/3.jpg: truncated or damaged JPEG" in done.stderr
    assert "Traceback" not in done.stderr
    after = results(project)
    assert {k: v for k, v in after.items() if k != "dvc.lock"} == {k: v for k, v in before.items() if k != "dvc.lock"}


@posix
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize(
    ("whom", "stage", "at_work"),
    [
        ("the stage", "prepare", "data/prepared.partial/images/train"),
        pytest.param("dvc and the stage", "train", "models/.train/work-*/run", marks=pytest.mark.long),
        pytest.param("dvc", "train", "models/.train/work-*/run", marks=pytest.mark.long),
    ],
)
def test_killed_at_work_repro_ends_well(project: Project, stage: str, at_work: str, whom: str) -> None:
    """Killed when its unfinished work is on the disk. To be caught at it, prepare is given more to do."""
    project.replace("params.yaml", "epochs: 1 ", "epochs: 2 ")
    project.replace("params.yaml", "    train: 16", f"    train: {2000 if stage == 'prepare' else 60}")
    started = subprocess.Popen(
        ["dvc", "repro"], cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    found = process_of(f"stages.{stage}", project.root, started)
    deadline = time.monotonic() + 60
    while not list(project.root.glob(at_work)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if "dvc" in whom:
        started.send_signal(signal.SIGKILL)
    if "stage" in whom:
        os.kill(found, signal.SIGKILL)
    started.communicate(timeout=60)  # returns when the stage has ended too, which holds the output open
    assert list(project.root.glob(at_work)), "it was not caught at work"
    if stage == "prepare":
        project.replace("params.yaml", "    train: 2000", "    train: 60")
    project.run("dvc", "repro")
    assert project.run("dvc", "status").stdout.split() == UP_TO_DATE
    assert json.loads(project.text("data/prepared/summary.json"))["splits"]["train"]["images"] == 60
    assert json.loads(project.text("reports/train/metrics.json"))["step"] == 2
    assert stale_reason(project.root) == ""
    runs = mlflow_runs(project)
    assert [run.info.status for run in runs.values()] == ["FINISHED"]
    leftovers = [path.name for folder in ("data", "models") for path in (project.root / folder).iterdir()]
    assert sorted(leftovers) == ["best.onnx", "best.pt", "exported", "prepared"]


# Experiments ----------------------------------------------------------------------------------------------------------


def test_queued_experiments_train_in_parallel_into_one_store(unrecorded: Project) -> None:
    project = unrecorded
    project.run("dvc", "exp", "run", "--queue", "-S", "epochs=2", "-S", "seed=0,1")
    project.run_queue(2)
    experiments = shown_experiments(project)
    assert len(experiments) == 2
    runs = mlflow_runs(project)
    assert runs.keys() == experiments.keys()
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["dvc.experiment"] == name
        row = experiments[name]["data"]
        assert run.data.params["seed"] == str(row["params"]["params.yaml"]["data"]["seed"])
        assert run.data.metrics["test/mAP50"] == row["metrics"]["reports/evaluate/metrics.json"]["data"]["mAP50"]
        logs = project.run("dvc", "queue", "logs", name).stdout
        assert ran(logs) == ["check", "train", "evaluate"], "the data was built again"


def test_without_a_server_the_run_ends_well_and_sync_catches_up(unrecorded: Project) -> None:
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = unrecorded.run("dvc", "exp", "run", "-n", "alone", "-S", "seed=7", env=nowhere)
    assert (done.stdout + done.stderr).count("cannot be used") == 1
    lines = unrecorded.run(sys.executable, "-m", "stages", "sync").stdout
    assert "alone: mirrored" in lines
    runs = mlflow_runs(unrecorded)
    committed = unrecorded.run("git", "rev-parse", "--short=7", "HEAD").stdout.strip()
    assert runs.keys() == {"alone", f"baseline-{committed}"}
    assert runs["alone"].data.params["seed"] == "7"
    assert runs["alone"].data.tags["dvc.experiment"] == "alone"
    client = MlflowClient(f"sqlite:///{unrecorded.root}/mlflow.db")
    weights = client.download_artifacts(runs["alone"].info.run_id, "model/best.pt", str(unrecorded.root.parent))
    assert Path(weights).read_bytes() == (unrecorded.root / "models/best.pt").read_bytes()
    again = unrecorded.run(sys.executable, "-m", "stages", "sync").stdout
    assert again.strip() == "MLflow has every run that DVC keeps"


def test_a_later_run_catches_up_for_an_earlier_one(unrecorded: Project) -> None:
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    unrecorded.run("dvc", "exp", "run", "-n", "earlier", "-S", "seed=8", env=nowhere)
    unrecorded.run("dvc", "exp", "run", "-n", "later", "-S", "seed=9")
    assert mlflow_runs(unrecorded).keys() == {"earlier", "later"}


def test_edited_params_are_not_mirrored_as_if_they_had_run(unrecorded: Project) -> None:
    unrecorded.replace("params.yaml", "seed: 0 ", "seed: 5 ")
    lines = unrecorded.run(sys.executable, "-m", "stages", "sync").stdout
    assert "the workspace: not mirrored: seed in params.yaml was changed since the last run" in lines
    assert all(run.data.params["seed"] == "0" for run in mlflow_runs(unrecorded).values())


# Real runs ------------------------------------------------------------------------------------------------------------


@real
@pytest.mark.long
def test_photographs_of_people_are_fetched_trained_on_and_tracked(project: Project) -> None:
    """COCO128's 40/10/10 photographs at 320 pixels, from an archive laid out as the official one."""
    served = project.root.parent / "served"
    served.mkdir()
    make_zip(served / "coco128.zip")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/coco128.zip"
        changes = {"data.source": "coco128", "imgsz": "320", "epochs": "3", "data.url": url, "data.imgsz": "null"}
        changes |= {f"data.split.{split}": "null" for split in ("train", "val", "test")}
        arguments = [word for key, value in changes.items() for word in ("-S", f"{key}={value}")]
        project.run("dvc", "exp", "run", "-n", "tiny-coco", *arguments)
        server.shutdown()
    summary = json.loads(project.text("data/prepared/summary.json"))
    assert {split: counts["images"] for split, counts in summary["splits"].items()} == {
        "train": 40,
        "val": 10,
        "test": 10,
    }
    images = [read_image(path) for path in (project.root / "data/prepared/images").rglob("*.jpg")]
    assert {max(image.shape) for image in images} == {320}
    run = mlflow_runs(project)["tiny-coco"]
    assert run.data.tags["data.digest"] == summary["digest"]
    assert run.data.metrics["step"] == 3
    assert "reports/evaluate/plots/predictions.png" in {
        file.path
        for file in MlflowClient(f"sqlite:///{project.root}/mlflow.db").list_artifacts(
            run.info.run_id, "reports/evaluate/plots"
        )
    }


@real
@pytest.mark.long
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the pretrained weights are not beside this checkout")
def test_pretrained_weights_gain_by_the_preset_and_are_told_to_be_destroyed_by_a_high_rate(project: Project) -> None:
    """The smallest form of Tiny COCO with real weights: 40 photographs of 256 pixels, one epoch."""
    archive = make_zip(project.root.parent / "coco128.zip")
    splits = [f"data.split.{split}={count}" for split, count in (("train", 40), ("val", 10), ("test", 10))]
    small = [*splits, "epochs=1", "imgsz=256", f"data.zip={archive}", "data.imgsz=256"]
    project.run(
        sys.executable, "-m", "stages", "preset", "tiny_coco", f"model={WEIGHTS}", "head={person: Normal}", *small
    )
    done = project.run("dvc", "repro")
    assert "warning" not in done.stderr
    metrics = json.loads(project.text("reports/train/metrics.json"))
    assert metrics["as_is_mAP50"] > 0.5
    assert metrics["mAP50"] > metrics["as_is_mAP50"]
    tested = json.loads(project.text("reports/evaluate/metrics.json"))["mAP50"]
    assert f"without training has {metrics['as_is_test_mAP50']:.3f}" in project.text("reports/decision.md")
    assert "at the last commit" not in project.text("reports/decision.md"), "its numbers are of other data"
    (run,) = mlflow_runs(project).values()
    assert run.data.metrics["as_is_mAP50"] == metrics["as_is_mAP50"]
    assert run.data.metrics["test/mAP50"] == tested
    assert run.data.params["head"] == "{person: Normal}"
    project.commit("Tiny COCO")

    done = project.run("dvc", "exp", "run", "-n", "too-high", "-S", "lr0=0.002", "evaluate")
    assert "warning: lr0 is 0.002: above" in done.stderr
    assert "warning: the pretrained weights are being destroyed" in done.stderr
    row = shown_experiments(project)["too-high"]["data"]["metrics"]["reports/train/metrics.json"]["data"]
    assert row["mAP50"] < 0.5 * row["as_is_mAP50"]
    table = project.run(sys.executable, "-m", "stages", "compare").stdout.splitlines()
    kinds = [line.split()[1] for line in table if " as is " in line or " grid " in line or " baseline " in line]
    assert kinds == ["as", "baseline", "grid"]


def test_the_committed_results_are_of_this_code_and_these_params() -> None:
    """What `dvc metrics show` tells after a clone is what `dvc repro` would find."""
    assert stale_reason(SOURCE) == ""
    stages = yaml.safe_load((SOURCE / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert set(stages) == set(yaml.safe_load((SOURCE / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], cwd=SOURCE, capture_output=True, text=True, check=True
    )
    changed = [
        (stage, path)
        for stage, changes in json.loads(status.stdout).items()
        for change in changes
        if isinstance(change, dict)  # the study is 'always changed'
        for path in change.get("changed deps", {})
        if path.startswith("stages")
    ]
    assert changed == [], "run `dvc repro`, then commit dvc.lock and reports/"


@pytest.mark.long
def test_the_default_learns_and_leaves_room_to_tune(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repository")
    shutil.copy2(SOURCE / "params.yaml", project.root / "params.yaml")
    project.run("dvc", "repro", "evaluate")
    assert 0.5 < json.loads(project.text("reports/evaluate/metrics.json"))["mAP50"] < 0.85
