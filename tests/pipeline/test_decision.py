"""The judgement as users start it, with the real dvc, git and MLflow; the training is a quick one."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.helpers.pipeline import UP_TO_DATE, mlflow_runs, posix, ran, shown_experiments
from tests.helpers.project import Project, copied, empty_home, written_to
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


@pytest.fixture(scope="module")
def decided(quick_baseline: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the quick baseline after a study with a confirmation. Not to be changed: tests take a `confirmed`.

    Its parent has the output of the command, and the folder `home`, which was the user's home.
    """
    folder = tmp_path_factory.mktemp("decided")
    project = copied(quick_baseline, folder / "repository", "trained.jsonl")
    done = project.run(*TUNE, env=empty_home(folder / "home"))
    (folder / "output").write_text(done.stdout, encoding="utf-8")
    return project


@pytest.fixture
def confirmed(decided: Project, tmp_path: Path) -> Project:
    """A copy of a repository after a study with a confirmation, for one test."""
    return copied(decided, tmp_path / "repository")


def test_a_study_is_confirmed_judged_and_registered_and_no_repeat_is_trained_again(
    decided: Project, confirmed: Project
) -> None:
    rows, shown, runs = repeats(confirmed), shown_experiments(confirmed), mlflow_runs(confirmed)
    assert sorted({(row["role"], row["seed"]) for row in rows})[:4] == [
        (role, seed) for role in ("baseline", "best") for seed in ("1", "2")
    ]
    text = confirmed.text("reports/decision.md")
    for row in rows:
        kept = shown[row["name"]]["data"]
        assert kept["metrics"]["reports/evaluate/metrics.json"]["data"]["mAP50"] == float(row["test_mAP50"])
        assert kept["metrics"]["reports/train/metrics.json"]["data"]["mAP50"] == float(row["mAP50"])
        assert kept["params"]["params.yaml"]["data"]["seed"] == int(row["seed"])
        assert runs[row["name"]].data.metrics["test/mAP50"] == float(row["test_mAP50"])
        assert row["name"] in text
    for row in trials(confirmed):
        assert row["name"] in text
    assert "**Best against baseline, test split: " in text.partition("## ")[0]
    assert ", 2 seeds and 4 test images)" in text.partition("## ")[0], "the predictions of the repeats were not read"
    assert text.partition("\n# Decision")[2].splitlines()[2] in (decided.root.parent / "output").read_text(
        encoding="utf-8"
    )
    parent, _ = nested(confirmed)
    kept_files = {file.path for file in client(confirmed).list_artifacts(parent.info.run_id)}
    assert {"decision.md", "figures", "confirmation.csv"} <= kept_files

    version = staging(confirmed)
    assert version.tags["dvc.experiment"] in {row["name"] for row in rows}
    assert f"version {version.version} of person-detector" in text
    run = runs[version.tags["dvc.experiment"]]
    assert version.run_id == run.info.run_id
    assert float(version.tags["threshold"]) == run.data.metrics["test/threshold"], "its operating point"
    card = confirmed.text("reports/model_card.md")
    assert version.description == card
    assert f"The results belong to the run {version.tags['dvc.experiment']}," in card

    before, count = text, len(trained(confirmed))
    assert ran(confirmed.run("dvc", "repro").stdout) == []
    assert confirmed.run("dvc", "status").stdout.split() == UP_TO_DATE
    again = confirmed.run(sys.executable, "-m", "stages.tune")
    assert "0 to train" in again.stdout
    assert "is already this model" in confirmed.text("reports/decision.md")
    confirmed.run("dvc", "repro")
    assert "is already this model" in confirmed.text("reports/decision.md"), "the report of the same results was lost"
    confirmed.run(*TUNE[:-1], "tune.confirm_seeds=3")
    assert len(trained(confirmed)) == count + len({row["role"] for row in rows})
    assert not trained_twice(confirmed)
    assert {row["seed"] for row in repeats(confirmed)} == {"1", "2", "3"}
    assert before.splitlines()[0] == confirmed.text("reports/decision.md").splitlines()[0]


@pytest.mark.long
def test_a_grid_after_the_study_takes_known_points_from_the_cache_and_writes_the_short_report(
    searched: Project,
) -> None:
    count = len(trained(searched))
    known = next(row for row in trials(searched) if row["source"] == "sampler" and row["state"] == "complete")
    point = [word for key in ("epochs", "imgsz", "lr0", "batch", "scale") for word in ("-S", f"{key}={known[key]}")]
    searched.run("dvc", "exp", "run", "--queue", "-n", "known", *point)
    searched.run("dvc", "exp", "run", "--queue", "-n", "new", "-S", "seed=7")
    searched.run_queue(2)
    shown = shown_experiments(searched)
    validation = {
        name: shown[name]["data"]["metrics"]["reports/train/metrics.json"]["data"]["mAP50"] for name in ("known", "new")
    }
    assert validation["known"] == float(known["mAP50"])
    assert len(trained(searched)) == count + 1, "the point that the study has measured was trained again"
    (reference,) = searched.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/new").stdout.split()
    assert "Nothing is decided here" in searched.run("git", "show", f"{reference}:reports/decision.md").stdout
    assert "reports/figures/slices.png" not in searched.run("git", "ls-tree", "-r", "--name-only", reference).stdout
    searched.run(*TUNE[:4])
    assert re.search(r"\| known +\| grid +\|", searched.text("reports/decision.md"))
    assert "Not compared, because other parameters differ: new (seed 7" in searched.text("reports/decision.md")
    assert {"known", "new"} <= mlflow_runs(searched).keys()
    searched.run(sys.executable, "-m", "stages", "compare")
    kinds = {row["run"]: row["kind"] for row in csv.DictReader(io.StringIO(searched.text("reports/comparison.csv")))}
    assert (kinds["known"], kinds["new"], kinds["searched"]) == ("grid", "grid", "tuned")


@posix
def test_killed_in_the_confirmation_the_same_command_goes_on(searched: Project) -> None:
    command = [sys.executable, "-m", "stages.tune"]
    searched.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 4 ")
    started = subprocess.Popen(
        command,
        cwd=searched.root,
        env=searched.environment({"QUICK_SECONDS": "0.3"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    for line in started.stdout:
        if "seed 2 (confirm-" in line:
            break
    started.kill()
    started.wait()
    started.stdout.close()
    kept = [name for name in shown_experiments(searched) if name.startswith("confirm-")]
    assert kept
    assert "```yaml" not in searched.text("reports/decision.md"), "a report of half a confirmation"
    done = searched.run(*command)
    told = re.search(r"(\d+) to train, (\d+) measured before", done.stdout)
    assert told is not None
    assert int(told[2]) >= len(kept)
    assert not trained_twice(searched)
    assert {row["seed"] for row in repeats(searched)} == {"1", "2", "3", "4"}
    assert not list((searched.root / ".study" / "work").iterdir())


def test_a_failed_repeat_and_an_absent_mlflow_are_told_and_the_report_is_made(searched: Project) -> None:
    best = json.loads(searched.text("reports/study/study.json"))["best"]["params"]["batch"]
    searched.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 2 ")
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "QUICK_FAILS": str(best), "QUICK_KIND": "out of memory"}
    done = searched.run(sys.executable, "-m", "stages.tune", env=away)
    assert "Traceback" not in done.stderr
    text = searched.text("reports/decision.md")
    assert "is missing: the quick training was told to fail" in text
    assert "- MLflow at http://127.0.0.1:1 cannot be used (" in text
    searched.run(sys.executable, "-m", "stages.tune")
    assert str(staging(searched).version) == "1"
    assert "is missing" not in searched.text("reports/decision.md")
    assert {row["name"] for row in repeats(searched)} <= mlflow_runs(searched).keys()


def test_nothing_is_written_to_the_users_home(decided: Project) -> None:
    home = decided.root.parent / "home"
    assert home.is_dir()
    assert written_to(home) == []


@pytest.mark.long
def test_a_model_takes_staging_only_if_it_is_better_and_undo_gives_it_back(confirmed: Project) -> None:
    holder = staging(confirmed)
    known = client(confirmed)
    weights = holder.tags["weights"]
    for claimed, stays in (("0.999", True), ("0.001", False)):
        known.set_model_version_tag("person-detector", holder.version, "test_mAP50", claimed)
        known.set_model_version_tag("person-detector", holder.version, "weights", "0" * 32)
        confirmed.run(sys.executable, "-m", "stages.tune", env={"STUDY": "run"})
        assert (staging(confirmed).version == holder.version) == stays
        assert (
            f"version {holder.version} ({holder.tags['dvc.experiment']}) stays" in confirmed.text("reports/decision.md")
        ) == stays
    assert staging(confirmed).tags["weights"] == weights
    assert staging(confirmed).tags["previous"] == str(holder.version)
    told = confirmed.run(sys.executable, "-m", "stages", "registry", "undo").stdout
    assert f"version {holder.version} again" in told
    assert staging(confirmed).version == holder.version


# Over splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_repeats_over_splits_are_experiments_with_data_of_their_own_and_none_is_trained_again(quick: Project) -> None:
    command = (*TUNE, "-S", "tune.confirm_over=splits", "-S", "tune.trials=2")
    quick.run(*command)
    text, rows = quick.text("reports/decision.md"), repeats(quick)
    assert ", 2 splits)" in text.partition("## ")[0]
    by_seed = {seed: next(row["name"] for row in rows if row["seed"] == seed) for seed in ("1", "2")}
    params = {name: shown["data"]["params"]["params.yaml"]["data"] for name, shown in shown_experiments(quick).items()}
    assert (params[by_seed["1"]]["data"]["seed"], params[by_seed["2"]]["data"]["seed"]) == (0, 1)
    assert staging(quick).tags["dvc.experiment"] in {row["name"] for row in rows if row["seed"] == "1"}
    digests = {name: mlflow_runs(quick)[name].data.tags["data.digest"] for name in by_seed.values()}
    assert len(set(digests.values())) == 2

    count = len(trained(quick))
    again = quick.run(sys.executable, "-m", "stages.tune")
    assert "0 to train" in again.stdout
    quick.run("git", "checkout", "-q", ".")
    quick.run("dvc", "exp", "apply", by_seed["2"])
    summary = json.loads((quick.root / "data" / "prepared" / "summary.json").read_text(encoding="utf-8"))
    assert summary["digest"] == digests[by_seed["2"]]
    assert json.loads(quick.text("reports/data/summary.json")) == summary
    assert ran(quick.run("dvc", "repro").stdout) in ([], ["check"])
    assert len(trained(quick)) == count


def test_data_with_splits_of_its_own_cannot_be_split_otherwise(quick: Project) -> None:
    own = quick.root / "own"
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            shutil.copytree(quick.root / "data" / "prepared" / kind / split, own / kind / split)
    shutil.copyfile(quick.root / "data" / "prepared" / "data.yaml", own / "data.yaml")
    changes = [f"data.{key}" for key in ("source=yolo", f"path={own}", "split.train=null", "split.val=null")]
    sets = [
        word for change in (*changes, "data.split.test=null", "tune.confirm_over=splits") for word in ("-S", change)
    ]
    quick.run("dvc", "exp", "run", *sets, "prepare")
    code = "from stages.experiments import origin, split; split.origin_of_split(origin.present_origin(), 1)"
    done = quick.run(sys.executable, "-c", code, check=False)
    assert "Failure: tune.confirm_over: splits needs splits that data.seed changes" in done.stderr
