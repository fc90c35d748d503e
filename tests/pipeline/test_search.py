"""The study as users start it, with the real dvc in a real repository; the training is a quick one, where it can be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stages.base.paths import NOT_EXPORTED
from stages.params.file import read
from stages.services.storage import FINISHED
from tests.helpers.pipeline import UP_TO_DATE, ran, shown_experiments
from tests.helpers.project import Project
from tests.helpers.study import SEARCHED, lines_of_trials, nested, stored, trained, trained_twice, trials

pytestmark = pytest.mark.slow

DEFERRED = "no study was asked for: `dvc exp run tune` runs one"


# Which command runs it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["dvc", "repro"],
        ["dvc", "exp", "run", "-n", "tune", "-S", "tune.seed=1"],
        ["dvc", "exp", "run", "--temp"],
    ],
    ids=" ".join,
)
def test_a_command_that_does_not_name_it_defers_the_study(quick: Project, command: list[str]) -> None:
    done = quick.run(*command)
    assert DEFERRED in done.stdout
    assert not (quick.root / ".study").exists()
    assert quick.text("reports/study/study.json") == "{}\n"


@pytest.mark.parametrize(
    "command",
    [
        ["dvc", "exp", "run", "-S", "tune.trials=3", "dvc.yaml:study"],
        [sys.executable, "-m", "dvc", "repro", "study"],
    ],
    ids=" ".join,
)
def test_a_command_that_names_it_runs_the_study(quick: Project, command: list[str]) -> None:
    done = quick.run(*command)
    assert DEFERRED not in done.stdout
    wanted = 3 if "tune.trials=3" in command else 4
    found = stored(quick)
    assert len([trial for trial in found if trial.state in FINISHED]) == wanted
    assert len(lines_of_trials(done.stdout)) == wanted - 1, "the baseline was trained again"
    assert quick.run("git", "symbolic-ref", "HEAD").stdout.strip() == "refs/heads/main"


@pytest.mark.long
def test_in_the_queue_the_grid_defers_it_and_a_named_one_runs_it(quick: Project) -> None:
    quick.run("dvc", "exp", "run", "--queue", "-S", "epochs=2,3")
    quick.run("dvc", "exp", "run", "--queue", "-n", "searched", "tune")
    quick.run_queue(1)
    names = set(shown_experiments(quick))
    own = {trial.user_attrs["name"] for trial in stored(quick) if trial.user_attrs["source"] == "sampler"}
    assert own < names
    (grid_one, grid_two) = sorted(names - own - {"searched"})
    for name in (grid_one, grid_two):
        assert DEFERRED in quick.run("dvc", "queue", "logs", name).stdout
    assert DEFERRED not in quick.run("dvc", "queue", "logs", "searched").stdout
    sources = [trial.user_attrs["source"] for trial in stored(quick)]
    assert sorted(sources) == ["baseline", "grid", "grid", "sampler"]


def test_a_wrong_word_in_the_environment_is_one_line(quick: Project) -> None:
    wrong = quick.run("dvc", "repro", env={"STUDY": "yes"}, check=False)
    assert "STUDY: 'yes' is not allowed; it must be run or defer" in wrong.stderr
    assert wrong.returncode != 0


# What it leaves -------------------------------------------------------------------------------------------------------


def test_the_best_is_written_back_and_the_row_is_coherent(quick_study: Project, searched: Project) -> None:
    before = searched.run("git", "show", "HEAD:params.yaml").stdout
    output = (quick_study.root.parent / "output").read_text(encoding="utf-8")
    best = max(trials(searched), key=lambda row: float(row["mAP50"] or 0))
    now = read(searched.root / "params.yaml")
    assert {key: float(now[key]) for key in SEARCHED} == {key: float(best[key]) for key in SEARCHED}
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), searched.text("params.yaml").splitlines(), strict=True)
        if old != new
    ]
    assert {old.split(":")[0] for old, _ in changed} <= set(SEARCHED)
    assert all(old.split("#")[1] == new.split("#")[1] for old, new in changed)
    assert "Stage 'train' is cached - skipping run" in output
    assert ran(output) == ["evaluate"]
    row = shown_experiments(searched)["searched"]["data"]
    assert row["params"]["params.yaml"]["data"]["lr0"] == float(best["lr0"])
    validation, test = (row["metrics"][f"reports/{stage}/metrics.json"]["data"] for stage in ("train", "evaluate"))
    assert validation["mAP50"] == float(best["mAP50"])
    assert test["mAP50"] == pytest.approx(validation["mAP50"] - 0.01)
    assert not trained_twice(searched)
    assert searched.run("dvc", "status").stdout.split() == UP_TO_DATE
    after = searched.run("dvc", "repro")
    assert ran(after.stdout) == []
    assert "mAP50" in searched.text("reports/decision.md")


def test_each_complete_trial_is_an_experiment_that_can_be_applied(searched: Project) -> None:
    rows = shown_experiments(searched)
    complete = [row for row in trials(searched) if row["state"] == "complete" and row["source"] == "sampler"]
    assert {row["name"] for row in complete} == set(rows) - {"searched"}
    chosen = min(complete, key=lambda row: float(row["mAP50"]))
    shown = rows[chosen["name"]]["data"]
    assert shown["metrics"]["reports/train/metrics.json"]["data"]["mAP50"] == float(chosen["mAP50"])
    assert "data" not in shown["metrics"]["reports/evaluate/metrics.json"], "a stale test metric"
    assert shown["params"]["params.yaml"]["data"]["lr0"] == float(chosen["lr0"])
    searched.run("git", "checkout", "-q", ".")
    assert "data" not in shown["metrics"]["reports/export/metrics.json"], "a trial exports nothing"
    searched.run("dvc", "exp", "apply", chosen["name"])
    assert searched.text("models/best.onnx") == NOT_EXPORTED
    before = len(trained(searched))
    done = searched.run("dvc", "repro")
    assert ran(done.stdout) == ["evaluate"]
    assert len(trained(searched)) == before
    test = json.loads(searched.text("reports/evaluate/metrics.json"))
    assert test["mAP50"] == pytest.approx(float(chosen["mAP50"]) - 0.01)
    assert searched.text("models/best.onnx").startswith(searched.text("models/best.pt")), "another model was exported"


def test_a_second_one_adds_nothing_and_more_trials_go_on(searched: Project) -> None:
    first = trials(searched)
    done = searched.run(sys.executable, "-m", "stages.study")
    assert "the study is complete; `dvc exp run tune -S tune.trials=8` adds trials" in done.stdout
    assert lines_of_trials(done.stdout) == []
    searched.replace("params.yaml", "  trials: 4", "  trials: 7")
    searched.run(sys.executable, "-m", "stages.study")
    assert [row["name"] for row in trials(searched)][: len(first)] == [row["name"] for row in first]
    assert len(trials(searched)) == 7
    assert not trained_twice(searched)


def test_one_worker_and_one_seed_make_one_study(quick: Project, tmp_path: Path) -> None:
    found: list[list[list[str]]] = []
    for _ in range(2):
        quick.run("git", "checkout", "-q", ".")
        env = {"OPTUNA_STORAGE": f"sqlite:///{tmp_path}/{len(found)}.db", "STUDY": "run"}
        quick.replace("params.yaml", "  trials: 4", "  trials: 7")
        for reference in quick.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split():
            quick.run("git", "update-ref", "-d", reference)
        quick.run(sys.executable, "-m", "stages.study", env=env)
        found.append([[row[key] for key in SEARCHED] for row in trials(quick)])
    assert found[0] == found[1]


def test_points_measured_before_are_trials_and_are_not_trained_again(quick: Project) -> None:
    """In a space of six points, where the baseline and one of a grid were measured, four are left."""
    space = quick.text("params.yaml").index("  space:")
    text = quick.text("params.yaml")[:space]
    (quick.root / "params.yaml").write_text(
        f"{text}  space:  # small\n    epochs: {{low: 1, high: 3}}  # three\n    imgsz: {{choices: [32, 64]}}  # two\n",
        encoding="utf-8",
    )
    quick.replace("params.yaml", "  trials: 4", "  trials: 40")
    quick.replace("params.yaml", "  pruner: forecast", "  pruner: none")
    quick.commit("another space")
    for points in (["epochs=1,2"], ["imgsz=32", "lr0=0.003"]):  # the last one is of another study
        quick.run(sys.executable, "-m", "stages", "grid", *points, "--now")
    before = len(trained(quick))
    done = quick.run(sys.executable, "-m", "stages.study")
    assert "every point of tune.space has been tried" in done.stdout
    rows = trials(quick)
    assert len(rows) == 6
    assert sorted(row["source"] for row in rows) == ["baseline", "grid", *["sampler"] * 4]
    assert len(trained(quick)) - before == 4
    assert not trained_twice(quick)


def test_params_that_nobody_has_measured_are_the_first_point(quick: Project) -> None:
    quick.replace("params.yaml", "seed: 0 ", "seed: 5 ")
    quick.run(sys.executable, "-m", "stages.study")
    first = trials(quick)[0]
    assert first["source"] == "enqueued"
    assert (first["epochs"], first["lr0"]) == ("1", "0.002")


def test_the_users_tree_index_and_queue_are_not_touched(quick: Project) -> None:
    (quick.root / "notes.txt").write_text("mine", encoding="utf-8")
    quick.run("git", "add", "notes.txt")
    quick.replace("stages/base/failures.py", '"""Failures', '"""All failures')
    quick.run("dvc", "exp", "run", "--queue", "-S", "epochs=3")
    edited, staged = quick.run("git", "diff").stdout, quick.run("git", "diff", "--cached").stdout
    assert "All failures" in edited
    quick.run(sys.executable, "-m", "stages.study", env={"STUDY": "run"})
    changed = set(quick.run("git", "diff", "--name-only").stdout.split())
    reports = {f"reports/study/{name}" for name in ("compared.csv", "history.csv", "study.json", "trials.csv")}
    assert changed - {"params.yaml", "dvc.lock"} == {*reports, "stages/base/failures.py"}
    assert quick.run("git", "diff", "--", "stages").stdout == edited
    assert quick.run("git", "diff", "--cached").stdout == staged
    assert quick.run("dvc", "queue", "status").stdout.count("Queued") == 1
    name = next(row["name"] for row in trials(quick) if row["source"] == "sampler")
    (reference,) = quick.run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").stdout.split()
    assert "All failures" in quick.run("git", "show", f"{reference}:stages/base/failures.py").stdout, (
        "the edit belongs to it"
    )


# Real training --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_real_study_trains_saves_and_evaluates(project: Project) -> None:
    project.replace("params.yaml", "  workers: 1", "  workers: 2")
    project.commit("two at once")
    done = project.run("dvc", "exp", "run", "-n", "searched", "tune")
    rows = trials(project)
    assert len([row for row in rows if row["state"] in ("complete", "pruned")]) == 4
    assert "Ultralytics" not in done.stdout
    own = next(row for row in rows if row["source"] == "sampler" and row["state"] == "complete")
    log = project.root / ".study" / "logs" / f"{own['name']}.log"
    assert "Ultralytics" in log.read_text(encoding="utf-8")
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "exp", "apply", own["name"])
    assert ran(project.run("dvc", "repro").stdout) == ["evaluate"]
    assert own["name"] in nested(project)[1]


# Limits ---------------------------------------------------------------------------------------------------------------


def with_limit(quick: Project, limit: str) -> None:
    quick.replace("params.yaml", "    ms_per_image: null", f"    ms_per_image: {limit}")
    quick.replace("params.yaml", "  confirm_seeds: 0 ", "  confirm_seeds: 2 ")
    quick.replace("params.yaml", "  trials: 4 ", "  trials: 8 ")


def test_all_that_is_recommended_keeps_a_limit_that_only_small_images_can_keep(quick: Project) -> None:
    """In the quick training, images of 64 pixels take 6.4 ms and those of 32 take 3.2 ms."""
    with_limit(quick, "5.0")
    done = quick.run("dvc", "exp", "run", "tune")
    assert "breaks a limit (ms_per_image 6.4 > 5)" in done.stdout
    rows = trials(quick)
    assert {row["breaks"] for row in rows if row["state"] == "complete" and row["imgsz"] == "64"} == {"ms_per_image"}
    assert read(quick.root / "params.yaml")["imgsz"] == 32
    decision = quick.text("reports/decision.md")
    assert "Limits of a setting: ms_per_image 5." in decision
    assert "\nimgsz: 32\n" in decision.partition("## Recommendation for staging")[2]
    assert "version 1 of person-detector" in decision
    parent, own = nested(quick)
    broken = {name for name, run in own.items() if run.data.tags.get("limits.broken") == "ms_per_image"}
    assert broken == {row["name"] for row in rows if row["breaks"] and row["source"] == "sampler"}
    assert parent.data.metrics["best_mAP50"] == max(float(row["mAP50"]) for row in rows if row["imgsz"] == "32")


def test_a_limit_that_nothing_keeps_is_one_line_and_nothing_is_written_back(quick: Project) -> None:
    with_limit(quick, "0.5")
    before = read(quick.root / "params.yaml")
    done = quick.run("dvc", "exp", "run", "tune")
    line = "no trial keeps tune.limits: ms_per_image at most 0.5 (least 3.2); params.yaml is unchanged"
    assert line in done.stdout.splitlines()
    assert read(quick.root / "params.yaml") == before
    assert "No trial of the study keeps tune.limits (ms_per_image 0.5)" in quick.text("reports/decision.md")
