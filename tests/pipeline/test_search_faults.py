"""Failures of a study, kills, and two studies at once, with the real dvc in a real repository."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow import MlflowClient

from stages.params.file import read
from stages.services.storage import FINISHED
from tests.helpers.pipeline import mlflow_runs, posix, shown_experiments
from tests.helpers.project import Project
from tests.helpers.study import lines_of_trials, nested, stored, trained_twice, trials

pytestmark = pytest.mark.slow


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_study_needs_no_committed_reports(quick: Project) -> None:
    quick.run("git", "rm", "-rq", "reports")
    quick.commit("no reports")
    quick.run(sys.executable, "-m", "stages.study")
    assert {trial["state"] for trial in trials(quick)} == {"complete"}


def test_a_failed_trial_is_told_with_its_log_and_replaced(quick: Project) -> None:
    quick.replace("params.yaml", "  trials: 4", "  trials: 6")
    quick.replace("params.yaml", "  sampler: auto", "  sampler: random")
    done = quick.run(sys.executable, "-m", "stages.study", env={"QUICK_FAILS": "8"})
    rows = trials(quick)
    failed = [row for row in rows if row["state"] == "fail"]
    assert failed
    assert all(row["batch"] == "8" and "told to fail" in row["reason"] for row in failed)
    line = next(line for line in lines_of_trials(done.stdout) if "failed" in line)
    log = line.split("see ")[1].split(";")[0]
    assert (quick.root / log).is_file()
    assert "a wall" not in done.stdout
    assert len([row for row in rows if row["state"] in ("complete", "pruned")]) == 6
    names = set(shown_experiments(quick))
    assert not names & {row["name"] for row in failed}


def test_a_training_that_hangs_is_ended_and_the_study_goes_on(quick: Project) -> None:
    quick.replace("params.yaml", "  stall: 3600 ", "  stall: 25 ")
    quick.replace("params.yaml", "    epochs: {low: 1, high: 3}", "    epochs: {low: 2, high: 3}")
    quick.replace("params.yaml", "epochs: 1 ", "epochs: 2 ")
    quick.commit("an impatient study")
    done = quick.run(sys.executable, "-m", "stages.study", env={"QUICK_HANGS": "8"})
    assert "no epoch ended for 25 s, so the training was ended" in done.stdout
    ended = stored(quick)
    (hung,) = [trial for trial in ended if trial.user_attrs.get("kind") == "stalled"]
    again = [trial for trial in ended if trial.params == hung.params and trial.state in FINISHED]
    assert len(again) == 1, "its point was not tried once more"
    assert len([trial for trial in ended if trial.state in FINISHED]) == 4
    wait_for(lambda: not processes_in(quick.root))


def test_three_failures_in_a_row_stop_the_study(quick: Project) -> None:
    quick.replace("params.yaml", "    batch: {choices: [4, 8]} ", "    batch: {choices: [8]} ")
    env = {"QUICK_FAILS": "8", "QUICK_KIND": "out of memory"}
    done = quick.run("dvc", "repro", "tune", env=env, check=False)
    assert done.returncode != 0
    assert "error: the study is stopped: 3 trials in a row failed (out of memory)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((quick.root / ".study" / "work").iterdir())


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("postgresql://someone:secret@127.0.0.1:1/optuna", "postgresql://***@127.0.0.1:1/optuna cannot be used"),
        ("nonsense", "nonsense cannot be used"),
    ],
)
def test_a_wrong_storage_is_one_line_without_its_password(quick: Project, storage: str, told: str) -> None:
    done = quick.run(sys.executable, "-m", "stages.study", env={"OPTUNA_STORAGE": storage}, check=False)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_params_edited_while_it_runs_stay_as_they_were_edited(quick: Project) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "stages.study"], cwd=quick.root, env=quick.environment({"QUICK_SECONDS": "0.3"}),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list((quick.root / ".study").glob("logs/*")):
        assert started.poll() is None
        time.sleep(0.05)
    quick.replace("params.yaml", "seed: 0 ", "seed: 9 ")
    edited = quick.text("params.yaml")
    output, _ = started.communicate(timeout=120)
    assert started.returncode == 0
    assert "params.yaml was edited during the study, so the study leaves it unchanged" in output
    assert quick.text("params.yaml") == edited


def test_the_study_is_a_run_with_a_run_for_each_trial(searched: Project) -> None:
    parent, own = nested(searched)
    rows = {row["name"]: row for row in trials(searched) if row["source"] == "sampler"}
    assert own.keys() == rows.keys()
    assert parent.info.status == "FINISHED"
    best = max(float(row["mAP50"]) for row in trials(searched))
    assert parent.data.metrics["best_mAP50"] == best
    client = MlflowClient(f"sqlite:///{searched.root}/mlflow.db")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "compared.csv",
        "confirmation.csv",
        "decision.md",
        "figures",
        "history.csv",
        "model_card.md",
        "study.json",
        "trials.csv",
    }
    for name, run in own.items():
        assert len(run.inputs.dataset_inputs) == 1
        assert run.data.params["lr0"] == rows[name]["lr0"]
        assert run.data.tags["optuna.state"].lower() == rows[name]["state"]
        assert run.data.tags["optuna.trial"] == rows[name]["number"]
        epochs = int(rows[name]["epochs_trained"])
        assert len(client.get_metric_history(run.info.run_id, "mAP50")) == epochs
        if rows[name]["state"] == "complete":
            assert run.data.tags["dvc.experiment"] == name
            assert run.data.metrics["val/mAP50"] == float(rows[name]["mAP50"])
    assert "searched" in mlflow_runs(searched)


def test_a_server_that_is_away_costs_one_warning_and_is_caught_up_with(quick: Project) -> None:
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = quick.run(sys.executable, "-m", "stages.study", env=nowhere)
    assert done.stderr.count("cannot be used") == 1
    assert not [name for name in mlflow_runs(quick) if name.startswith("tune-")]
    quick.run(sys.executable, "-m", "stages", "sync")
    _, own = nested(quick)
    assert len(own) == 3
    assert all(len(run.inputs.dataset_inputs) == 1 for run in own.values())
    before = {name: run.info.run_id for name, run in own.items()}
    assert "mirrored\n" not in quick.run(sys.executable, "-m", "stages", "sync").stdout
    assert {name: run.info.run_id for name, run in nested(quick)[1].items()} == before


# Killed, and two at once ----------------------------------------------------------------------------------------------


def processes_in(root: Path) -> list[psutil.Process]:
    """Processes whose working directory is in a repository."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def workers_of(pid: int) -> list[psutil.Process]:
    """Worker processes of a study."""
    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]


def wait_for(condition: Callable[..., object], *arguments: object) -> None:
    deadline = time.monotonic() + 60
    while not condition(*arguments):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@posix
@pytest.mark.parametrize("whom", ["a worker", "the study", pytest.param("dvc", marks=pytest.mark.long)])
def test_killed_at_any_moment_no_trial_is_lost_and_none_is_trained_twice(quick: Project, whom: str) -> None:
    """Killed at random moments of one study, which is to have more trials each time."""
    quick.replace("params.yaml", "  workers: 1", "  workers: 2")
    command = ["dvc", "exp", "run", "study"] if whom == "dvc" else [sys.executable, "-m", "stages.study"]
    moments = random.Random(whom)
    finished: set[str] = set()

    def folders() -> set[Path]:
        return set((quick.root / ".study" / "work").glob("*/files"))

    def has_new_folder(before: set[Path]) -> bool:
        return bool(folders() - before)

    for wanted in (5, 9):
        quick.replace(
            "params.yaml", f"  trials: {read(quick.root / 'params.yaml')['tune']['trials']}", f"  trials: {wanted}"
        )
        quick.run("git", "commit", "--allow-empty", "-qam", "more trials")
        before = folders()  # a killed study leaves its folders, and the next one removes them
        started = subprocess.Popen(
            command, cwd=quick.root, env=quick.environment({"QUICK_SECONDS": "1"}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        wait_for(has_new_folder, before)
        time.sleep(moments.uniform(0, 2.5))
        victims = [psutil.Process(started.pid)]
        if whom == "a worker":
            wait_for(workers_of, started.pid)
            victims = workers_of(started.pid)[:1]
        victims[0].kill()
        started.communicate(timeout=120)
        wait_for(lambda: not processes_in(quick.root))
        now = {trial.user_attrs["name"] for trial in stored(quick) if trial.state in FINISHED}
        assert finished <= now
        finished = now
        if quick.run("git", "symbolic-ref", "-q", "HEAD", check=False).returncode:
            quick.run("git", "switch", "-q", "main")
    quick.run(sys.executable, "-m", "stages.study")
    ended = [trial for trial in stored(quick) if trial.state in FINISHED]
    assert finished <= {trial.user_attrs["name"] for trial in ended}
    assert len(ended) >= 9
    assert not [trial for trial in stored(quick) if trial.state == optuna.trial.TrialState.RUNNING]
    complete = {row["name"] for row in trials(quick) if row["state"] == "complete" and row["source"] == "sampler"}
    kept = quick.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    assert complete <= {reference.rpartition("/")[2] for reference in kept}
    points = [tuple(trial.params.values()) for trial in ended]
    assert len(set(points)) == len(points)
    assert not list((quick.root / ".study" / "work").iterdir())


def test_two_at_once_share_one_study(quick: Project) -> None:
    quick.replace("params.yaml", "  trials: 4", "  trials: 8")
    quick.commit("more trials")
    both = [
        subprocess.Popen(
            ["dvc", "exp", "run", "--temp", "study"], cwd=quick.root, env=quick.environment({"QUICK_SECONDS": "0.1"}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    finished = [trial for trial in stored(quick) if trial.state in FINISHED]
    assert len(finished) == 8
    assert not trained_twice(quick)
    written = {line for output, _ in outputs for line in output.splitlines() if "written to params.yaml" in line}
    assert len(written) == 1, "the two found different bests"
