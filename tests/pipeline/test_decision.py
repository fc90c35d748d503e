"""The judgement as users start it, with the real dvc, git and MLflow; the training is a quick one."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.helpers.pipeline import UP_TO_DATE, mlflow_runs, posix, ran, shown_experiments
from tests.helpers.project import Project
from tests.helpers.study import nested, trained, trained_twice, trials

pytestmark = pytest.mark.slow

TUNE = ("dvc", "exp", "run", "tune", "-S", "tune.confirm_seeds=2")


def repeats(project: Project) -> list[dict[str, str]]:
    """The rows of confirmation.csv."""
    return list(csv.DictReader(io.StringIO(project.text("reports/confirmation.csv"))))


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root}/mlflow.db")


def staging(project: Project) -> Any:
    """The version that the alias is at."""
    return client(project).get_model_version_by_alias("person-detector", "staging")


def test_a_study_is_confirmed_judged_and_registered_and_no_repeat_is_trained_again(quick: Project) -> None:
    done = quick.run(*TUNE)
    rows, shown, runs = repeats(quick), shown_experiments(quick), mlflow_runs(quick)
    assert sorted({(row["role"], row["seed"]) for row in rows})[:4] == [
        (role, seed) for role in ("baseline", "best") for seed in ("1", "2")
    ]
    text = quick.text("reports/decision.md")
    for row in rows:
        kept = shown[row["name"]]["data"]
        assert kept["metrics"]["reports/evaluate/metrics.json"]["data"]["mAP50"] == float(row["test_mAP50"])
        assert kept["metrics"]["reports/train/metrics.json"]["data"]["mAP50"] == float(row["mAP50"])
        assert kept["params"]["params.yaml"]["data"]["seed"] == int(row["seed"])
        assert runs[row["name"]].data.metrics["test/mAP50"] == float(row["test_mAP50"])
        assert row["name"] in text
    for row in trials(quick):
        assert row["name"] in text
    assert "**Best against baseline, test split: " in text.partition("## ")[0]
    assert text.partition("\n# Decision")[2].splitlines()[2] in done.stdout
    parent, _ = nested(quick)
    kept_files = {file.path for file in client(quick).list_artifacts(parent.info.run_id)}
    assert {"decision.md", "figures", "confirmation.csv"} <= kept_files

    version = staging(quick)
    assert version.tags["dvc.experiment"] in {row["name"] for row in rows}
    assert f"version {version.version} of person-detector" in text
    assert version.run_id == runs[version.tags["dvc.experiment"]].info.run_id

    before, count = text, len(trained(quick))
    assert ran(quick.run("dvc", "repro").stdout) == []
    assert quick.run("dvc", "status").stdout.split() == UP_TO_DATE
    again = quick.run(sys.executable, "-m", "stages.tune")
    assert f"{len(rows) // 2 * 2} measured before" in again.stdout or "0 to train" in again.stdout
    assert "is already this model" in quick.text("reports/decision.md")
    quick.run("dvc", "repro")
    assert "is already this model" in quick.text("reports/decision.md"), "the report of the same results was lost"
    quick.run(*TUNE[:-1], "tune.confirm_seeds=3")
    assert len(trained(quick)) == count + len({row["role"] for row in rows})
    assert not trained_twice(quick)
    assert {row["seed"] for row in repeats(quick)} == {"1", "2", "3"}
    assert before.splitlines()[0] == quick.text("reports/decision.md").splitlines()[0]


def test_a_grid_after_the_study_takes_known_points_from_the_cache_and_writes_the_short_report(quick: Project) -> None:
    quick.run("dvc", "exp", "run", "-n", "searched", "tune")
    count = len(trained(quick))
    known = next(row for row in trials(quick) if row["source"] == "sampler" and row["state"] == "complete")
    point = [word for key in ("epochs", "imgsz", "lr0", "batch", "scale") for word in ("-S", f"{key}={known[key]}")]
    quick.run("dvc", "exp", "run", "--queue", "-n", "known", *point)
    quick.run("dvc", "exp", "run", "--queue", "-n", "new", "-S", "seed=7")
    quick.run_queue(2)
    shown = shown_experiments(quick)
    validation = {
        name: shown[name]["data"]["metrics"]["reports/train/metrics.json"]["data"]["mAP50"] for name in ("known", "new")
    }
    assert validation["known"] == float(known["mAP50"])
    assert len(trained(quick)) == count + 1, "the point that the study has measured was trained again"
    (reference,) = quick.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/new").stdout.split()
    assert "Nothing is decided here" in quick.run("git", "show", f"{reference}:reports/decision.md").stdout
    assert "reports/figures/slices.png" not in quick.run("git", "ls-tree", "-r", "--name-only", reference).stdout
    quick.run(*TUNE[:4])
    assert re.search(r"\| known +\| grid +\|", quick.text("reports/decision.md"))
    assert "Not compared, because other parameters differ: new (seed 7" in quick.text("reports/decision.md")
    assert {"known", "new"} <= mlflow_runs(quick).keys()
    quick.run(sys.executable, "-m", "stages", "compare")
    kinds = {row["run"]: row["kind"] for row in csv.DictReader(io.StringIO(quick.text("reports/comparison.csv")))}
    assert (kinds["known"], kinds["new"], kinds["searched"]) == ("grid", "grid", "tuned")


@posix
def test_killed_in_the_confirmation_the_same_command_goes_on(quick: Project) -> None:
    quick.run(*TUNE[:4])
    command = [sys.executable, "-m", "stages.tune"]
    quick.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 4 ")
    started = subprocess.Popen(
        command, cwd=quick.root, env=quick.environment({"QUICK_SECONDS": "0.3"}), stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    for line in started.stdout:
        if "seed 2 (confirm-" in line:
            break
    started.kill()
    started.wait()
    started.stdout.close()
    kept = [name for name in shown_experiments(quick) if name.startswith("confirm-")]
    assert kept
    assert "```yaml" not in quick.text("reports/decision.md"), "a report of half a confirmation"
    done = quick.run(*command)
    told = re.search(r"(\d+) to train, (\d+) measured before", done.stdout)
    assert told is not None
    assert int(told[2]) >= len(kept)
    assert not trained_twice(quick)
    assert {row["seed"] for row in repeats(quick)} == {"1", "2", "3", "4"}
    assert not list((quick.root / ".study" / "work").iterdir())


def test_a_failed_repeat_and_an_absent_mlflow_are_told_and_the_report_is_made(quick: Project, tmp_path: Path) -> None:
    quick.run(*TUNE[:4])
    best = json.loads(quick.text("reports/study/study.json"))["best"]["params"]["batch"]
    quick.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 2 ")
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "QUICK_FAILS": str(best), "QUICK_KIND": "out of memory"}
    done = quick.run(sys.executable, "-m", "stages.tune", env=away)
    assert "Traceback" not in done.stderr
    text = quick.text("reports/decision.md")
    assert "is missing: the quick training was told to fail" in text
    assert "- MLflow at http://127.0.0.1:1 cannot be used (" in text
    quick.run(sys.executable, "-m", "stages.tune")
    assert str(staging(quick).version) == "1"
    assert "is missing" not in quick.text("reports/decision.md")
    assert {row["name"] for row in repeats(quick)} <= mlflow_runs(quick).keys()


def test_a_model_takes_staging_only_if_it_is_better_and_undo_gives_it_back(quick: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "XDG_CACHE_HOME": str(home / ".cache")}
    quick.run(*TUNE, env=places)
    assert [path for path in home.rglob("*") if path.is_file() and "dvc" not in path.parts] == []
    holder = staging(quick)
    known = client(quick)
    weights = holder.tags["weights"]
    for claimed, stays in (("0.999", True), ("0.001", False)):
        known.set_model_version_tag("person-detector", holder.version, "test_mAP50", claimed)
        known.set_model_version_tag("person-detector", holder.version, "weights", "0" * 32)
        quick.run(sys.executable, "-m", "stages.tune", env={"STUDY": "run"})
        assert (staging(quick).version == holder.version) == stays
        assert (
            f"version {holder.version} ({holder.tags['dvc.experiment']}) stays" in quick.text("reports/decision.md")
        ) == stays
    assert staging(quick).tags["weights"] == weights
    assert staging(quick).tags["previous"] == str(holder.version)
    told = quick.run(sys.executable, "-m", "stages", "registry", "undo").stdout
    assert f"version {holder.version} again" in told
    assert staging(quick).version == holder.version
