"""The table of everything that was run: from DVC's own data, and as the command that users type."""

from __future__ import annotations

import csv
import io
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dvc.repo.experiments.serialize import (
    ExpDep,
    ExpOut,
    ExpRange,
    ExpState,
    SerializableError,
    SerializableExp,
)

from stages.experiments import comparison
from stages.experiments.comparison import Comparison, comma_separated, compare, markdown, terminal
from tests.helpers.project import Project

HEAD, OLD = "a" * 40, "b" * 40
PARAMS = {"epochs": 4, "lr0": 0.002, "device": None, "data": {"source": "synthetic", "seed": 0}, "tune": {"trials": 16}}


def data(value: Any = 0.5, params: dict[str, Any] | None = None, test: Any = 0.4, figures: int = 1) -> SerializableExp:
    """What DVC tells of a run; a test of None is a file that is missing."""
    absent = {"error": FileNotFoundError(2, "No such file or directory")}
    tested = absent if test is None else {"data": {"mAP50": test, "ms_per_image": 10.0}}
    return SerializableExp(
        rev="",
        params={comparison.PARAMS: {"data": PARAMS | (params or {})}},
        metrics={
            comparison.TRAINED: {"data": {"mAP50": value, "mAP50-95": 0.2, "train_seconds": 60.0}},
            comparison.TESTED: tested,
        },
        deps={comparison.MODEL: ExpDep("model", 1, None)},
        outs={str(Path("reports/figures")): _out("drawn", figures), comparison.MODEL: _out("model", None)},
    )


def _out(digest: str, files: int | None) -> ExpOut:
    return ExpOut(digest, 1, files, use_cache=False, is_data_source=False)


def experiment(name: str, made: SerializableExp | SerializableError) -> ExpRange:
    found = isinstance(made, SerializableExp)
    one = ExpState(rev=f"of {name}", name=name, data=made if found else None, error=None if found else made)
    return ExpRange([one], name=name)


def compared(*experiments: ExpRange, here: SerializableExp | None = None, old: tuple[ExpRange, ...] = ()) -> Comparison:
    """A baseline with these experiments, and others that hang on an older commit."""
    states = [
        ExpState(rev="workspace", data=here or data()),
        ExpState(rev=HEAD, data=data(), experiments=list(experiments) or None),
        ExpState(rev=OLD, data=data(), experiments=list(old) or None),
    ]
    kept = {one.name: (one.revs[0].rev, start) for start, ones in ((OLD, old), (HEAD, experiments)) for one in ones}
    return compare(states, {name: entry for name, entry in kept.items() if name}, HEAD)


def names(found: Comparison) -> list[str]:
    return [run.name for run in found.runs]


def row(found: Comparison, name: str) -> dict[str, str]:
    return next(one for one in csv.DictReader(io.StringIO(comma_separated(found))) if one["run"] == name)


# Rows -----------------------------------------------------------------------------------------------------------------


def test_the_best_on_the_validation_split_is_first_and_a_missing_number_last() -> None:
    ones = [
        experiment(name, data(value)) for name, value in (("b", 0.6), ("nan", float("nan")), ("a", 0.6), ("c", 0.9))
    ]
    assert names(compared(*ones)) == ["c", "b", "a", "baseline-aaaaaaa", "nan"]


def test_a_pretrained_model_without_training_is_first_and_once_for_each_size(tmp_path: Path) -> None:
    def pretrained(value: float, imgsz: int, as_is: float, **others: Any) -> SerializableExp:
        given = {"model": "yolov8n.pt", "head": {"person": "Normal"}, "imgsz": imgsz, **others}
        made = data(value, given)
        made.metrics[comparison.TRAINED]["data"] |= {"as_is_mAP50": as_is, "as_is_test_mAP50": as_is / 2}
        return made

    runs = [
        experiment("a", pretrained(0.8, 320, 0.6)),
        experiment("b", pretrained(0.9, 320, 0.6, lr0=0.1)),
        experiment("c", pretrained(0.7, 416, 0.65)),
    ]
    found = compared(*runs)
    assert names(found) == ["as-is", "as-is", "b", "a", "c", "baseline-aaaaaaa"]
    larger, smaller = found.runs[:2]
    assert larger.numbers["val_mAP50"] == 0.65
    assert larger.numbers["test_mAP50"] == 0.325
    assert (larger.numbers["train_seconds"], larger.numbers["ms_per_image"]) == (0.0, None)
    assert larger.changes == {"model": "yolov8n.pt", "head": "{person: Normal}", "imgsz": 416}
    assert "lr0" not in smaller.changes
    assert "as is" in terminal(found, 120)


@pytest.mark.parametrize(
    ("name", "made", "kind"),
    [
        ("murky-beth", data(), "grid"),
        ("tune-0a1b2c-007", data(test=None), "trial"),
        ("confirm-0a1b2c-s3", data(), "confirmation"),
        ("searched", data(figures=6), "tuned"),
        ("tune-0a1b2c-008", data(figures=6), "trial"),
    ],
)
def test_a_kind_is_told_by_the_name_and_by_the_whole_report_of_a_study(
    name: str, made: SerializableExp, kind: str
) -> None:
    assert row(compared(experiment(name, made)), name)["kind"] == kind


def test_what_varies_is_told_for_training_and_data_but_not_for_the_study() -> None:
    params = {"epochs": 5, "device": "cpu", "data": {"source": "yolo", "seed": 0}, "tune": {"trials": 40}, "lr0": 1 / 3}
    found = compared(experiment("other", data(params=params)), experiment("same", data()))
    assert row(found, "other")["varies"] == f"epochs 5, lr0 {1 / 3}, device cpu, data.source yolo"
    assert row(found, "same")["varies"] == row(found, "baseline-aaaaaaa")["varies"] == "-"
    assert "epochs 5, lr0 0.3333, device cpu" in markdown(found)


def test_a_key_that_only_one_side_knows_is_told() -> None:
    older = data(params={"mosaic": 0.5})
    del older.params[comparison.PARAMS]["data"]["lr0"]
    assert row(compared(experiment("older", older)), "older")["varies"] == "mosaic 0.5, lr0 -"


def test_the_workspace_has_a_row_only_where_its_results_are_not_the_last_commits() -> None:
    cost = data()
    cost.metrics[comparison.TRAINED]["data"]["train_seconds"] = 61.0
    for here in (data(), cost):
        assert names(compared(here=here)) == ["baseline-aaaaaaa"]
    for here in (data(value=0.7), data(test=0.7), data(params={"epochs": 5})):
        assert "workspace" in names(compared(here=here))


def test_metrics_that_are_not_those_of_edited_params_are_not_shown() -> None:
    states = [ExpState(rev="workspace", data=data(0.9, {"epochs": 9})), ExpState(rev=HEAD, data=data())]
    found = compare(states, {}, HEAD, edited="epochs in params.yaml was changed since the last run")
    assert (row(found, "workspace")["varies"], row(found, "workspace")["val_mAP50"]) == ("epochs 9", "")
    assert names(found) == ["baseline-aaaaaaa", "workspace"]
    assert "left out: the workspace's numbers: epochs in params.yaml was changed" in terminal(found, 100)


def test_experiments_of_an_older_commit_stay_and_of_two_with_one_name_the_newer_counts() -> None:
    found = compared(experiment("twice", data(0.7)), old=(experiment("earlier", data(0.8)), experiment("once", data())))
    assert names(found) == ["earlier", "twice", "baseline-aaaaaaa", "once"]
    older, newer = experiment("twice", data(0.6)), experiment("twice", data(0.7))
    newer.revs[0].rev = "newer"
    states = [
        ExpState(rev=HEAD, data=data(), experiments=[older]),
        ExpState(rev=OLD, data=data(), experiments=[newer]),
    ]
    found = compare(states, {"twice": ("newer", OLD)}, HEAD)
    assert [run.numbers["val_mAP50"] for run in found.runs if run.name == "twice"] == [0.7]


def test_what_has_no_results_is_counted() -> None:
    states = [ExpState(rev=HEAD, data=data())]
    found = compare(states, {}, HEAD, {"failed": 2, "queued": 1})
    for text in (terminal(found, 100), markdown(found)):
        assert "without results: 2 failed, 1 queued; `dvc queue status` shows them" in text
        assert "no experiments yet" not in text
    assert "without results" not in terminal(compare(states, {}, HEAD), 100)


# What cannot be read --------------------------------------------------------------------------------------------------


def without(path: str) -> SerializableExp:
    made = data()
    return replace(made, metrics={**made.metrics, path: {"error": FileNotFoundError(2, "No such file")}})


def holding(path: str, content: Any) -> SerializableExp:
    made = data()
    return replace(made, metrics={**made.metrics, path: {"data": content}})


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (SerializableError("'dvc.yaml' is\ninvalid."), "'dvc.yaml' is invalid."),
        (without(comparison.TRAINED), f"{comparison.TRAINED} is missing"),
        (holding(comparison.TRAINED, 0.7), f"{comparison.TRAINED} is no mapping of names to values"),
        (holding(comparison.TRAINED, {"map": 0.7}), f"{comparison.TRAINED} has no mAP50"),
        (data("high"), f"{comparison.TRAINED}: mAP50 is 'high', not a number"),
        (data(test="high"), f"{comparison.TESTED}: mAP50 is 'high', not a number"),
        (replace(data(), params={}), "params.yaml is missing"),
        (replace(data(), params={"params.yaml": {"error": ValueError("no\nYAML")}}), "params.yaml: no YAML"),
    ],
)
def test_an_experiment_that_cannot_be_read_is_named_and_the_others_are_shown(made: Any, why: str) -> None:
    found = compared(experiment("broken", made), experiment("whole", data(0.9)))
    assert names(found) == ["whole", "baseline-aaaaaaa"]
    assert f"left out: broken: {why}" in terminal(found, 100).splitlines()


def test_an_experiment_whose_start_is_not_in_this_clone_is_named() -> None:
    found = compare([ExpState(rev=HEAD, data=data())], {"far": ("of far", OLD)}, HEAD)
    assert found.unreadable == [
        "far: DVC does not list it; is the commit bbbbbbb, from which it started, in this clone?"
    ]


def test_a_missing_test_is_a_dash_and_so_is_one_of_another_model() -> None:
    stale = replace(data(test=0.9), deps={comparison.MODEL: ExpDep("the model before", 1, None)})
    found = compared(experiment("tune-0a1b2c-001", data(test=None)), experiment("stale", stale))
    for name in ("tune-0a1b2c-001", "stale"):
        assert (row(found, name)["test_mAP50"], row(found, name)["ms_per_image"]) == ("", "")
    assert row(found, "baseline-aaaaaaa")["test_mAP50"] == "0.4"
    line = next(line for line in markdown(found).splitlines() if "stale" in line)
    assert [cell.strip() for cell in line.split("|")[6:9]] == ["-", "60.0", "-"]


def test_without_a_baseline_one_line_says_how_to_make_experiments() -> None:
    states = [ExpState(rev="workspace", data=without(comparison.TRAINED))]
    found = compare([*states, ExpState(rev=HEAD, data=without(comparison.TRAINED))], {}, HEAD)
    assert terminal(found, 100).splitlines() == [
        f"left out: baseline-aaaaaaa: {comparison.TRAINED} is missing",
        "no experiments yet: `dvc exp run --queue -S epochs=3,5 -S imgsz=128,160`, then `dvc queue start`",
    ]
    assert "no experiments yet" in terminal(compared(), 100)
    assert "no experiments yet" not in terminal(compared(experiment("one", data())), 100)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_the_best_of_each_split_is_marked() -> None:
    found = compared(experiment("best", data(0.81234)), experiment("tested", data(0.7, test=0.75)))
    cells = {line.split()[0]: line.split() for line in terminal(found, 100).splitlines() if line}
    assert cells["best"] == ["best", "grid", "-", "*0.812", "0.200", "0.400", "60.0", "10.0"]
    assert cells["tested"] == ["tested", "grid", "-", "0.700", "0.200", "*0.750", "60.0", "10.0"]
    page = markdown(found)
    assert page.count("**") == 4
    assert "**0.812**" in page
    assert "**0.750**" in page


def test_numbers_stand_to_the_right_and_the_lines_fit_a_narrow_terminal() -> None:
    params = {"epochs": 5, "imgsz": 128, "lr0": 0.0023456, "batch": 8, "scale": 0.3000004}
    quick = data()
    quick.metrics[comparison.TESTED]["data"]["ms_per_image"] = 9.5
    both = experiment("confirm-0a1b2c-s10", data(params=params)), experiment("quick", quick)
    lines = terminal(compared(*both), 100).splitlines()
    assert max(len(line) for line in lines) <= 100
    ends = [line.rstrip() for line in lines if "0.200" in line]
    assert len({len(line) for line in ends}) == 1
    wide = terminal(compared(*both), 160)
    assert "epochs 5, lr0 0.002346, imgsz 128, batch 8, scale 0.3" in wide


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    page = markdown(compared(experiment("a|b", data(params={"data": {"source": "yolo|coco", "seed": 0}}))))
    line = next(line for line in page.splitlines() if "a\\|b" in line)
    assert "data.source yolo\\|coco" in line
    assert line.replace("\\|", "").count("|") == 9


def test_of_many_runs_the_first_are_shown_the_baseline_always_and_all_in_the_csv() -> None:
    found = compared(*(experiment(f"run-{place:03d}", data(0.6 + place / 1000)) for place in range(120)))
    for text, most in ((terminal(found, 100), 40), (markdown(found), 100)):
        shown = [word for word in text.split() if word.startswith("run-")]
        assert shown == [f"run-{place:03d}" for place in range(119, 119 - most, -1)]
        assert text.count("baseline-aaaaaaa") == 1
        assert f"of 121 runs the first {most} are shown; all are in reports/comparison.csv" in text
    assert len(list(csv.DictReader(io.StringIO(comma_separated(found))))) == 121
    few = compared(*(experiment(f"run-{place}", data(0.6)) for place in range(39)))
    assert "are shown" not in terminal(few, 100)


def test_the_csv_has_full_precision_and_every_training_parameter() -> None:
    found = compared(experiment("one", data(2 / 3, {"mosaic": 1e-05})))
    assert row(found, "one") == {
        "run": "one",
        "kind": "grid",
        "varies": "mosaic 1e-05",
        "val_mAP50": str(2 / 3),
        "val_mAP50-95": "0.2",
        "test_mAP50": "0.4",
        "train_seconds": "60.0",
        "ms_per_image": "10.0",
        "epochs": "4",
        "lr0": "0.002",
        "device": "null",
        "mosaic": "1e-05",
    }
    assert row(found, "baseline-aaaaaaa")["mosaic"] == ""


# The command ----------------------------------------------------------------------------------------------------------


def shown(project: Project) -> tuple[str, dict[str, dict[str, str]]]:
    """What it prints, and the rows of the CSV."""
    done = project.run(sys.executable, "-m", "stages", "compare")
    rows = {one["run"]: one for one in csv.DictReader(io.StringIO(project.text("reports/comparison.csv")))}
    return done.stdout, rows


@pytest.mark.slow
def test_a_grid_is_compared_while_it_runs_after_it_and_after_the_next_commit(quick: Project) -> None:
    baseline = f"baseline-{quick.run('git', 'rev-parse', '--short=7', 'HEAD').stdout.strip()}"
    printed, rows = shown(quick)
    assert list(rows) == [baseline]
    assert "no experiments yet: `dvc exp run --queue" in printed
    quick.run("dvc", "exp", "run", "--queue", "-S", "epochs=2,3")
    quick.run("dvc", "exp", "run", "--queue", "-n", "fails", "-S", "batch=8")
    quick.run("dvc", "queue", "start", "-j", "2", env={"QUICK_FAILS": "8"})
    deadline = time.monotonic() + 100
    while "queued" in printed or "running" in printed or "no experiments yet" in printed:
        assert time.monotonic() < deadline
        time.sleep(1)
        printed, rows = shown(quick)
    assert "without results: 1 failed; `dvc queue status` shows them" in printed
    assert "fails" not in rows
    best, second, last = rows.values()
    assert (best["kind"], second["kind"], last["run"]) == ("grid", "grid", baseline)
    assert (best["varies"], second["varies"], last["varies"]) == ("epochs 3", "epochs 2", "-")
    assert float(best["val_mAP50"]) == pytest.approx(float(last["val_mAP50"]) + 0.1)
    assert float(best["test_mAP50"]) == pytest.approx(float(best["val_mAP50"]) - 0.01)
    assert {best["run"], second["run"]} == set(quick.run("dvc", "exp", "list", "--name-only").stdout.split())
    assert f"**{float(best['val_mAP50']):.3f}**" in quick.text("reports/comparison.md")
    assert shown(quick) == (printed, rows)
    quick.replace("params.yaml", "epochs: 1 ", "epochs: 2 ")
    printed, edited = shown(quick)
    assert edited["workspace"]["val_mAP50"] == ""
    assert "epochs in params.yaml was changed since the last run" in printed
    quick.replace("params.yaml", "epochs: 2 ", "epochs: 1 ")
    (quick.root / "notes.txt").write_text("a change", encoding="utf-8")
    quick.commit("the next")
    _, later = shown(quick)
    assert set(later) - set(rows) == {f"baseline-{quick.run('git', 'rev-parse', '--short=7', 'HEAD').stdout.strip()}"}
    assert later[best["run"]] == best


@pytest.mark.slow
def test_trials_are_read_once_and_without_a_commit_one_line_is_told(quick: Project) -> None:
    quick.run(sys.executable, "-m", "stages.study")
    _, rows = shown(quick)
    trials = {name: one for name, one in rows.items() if one["kind"] == "trial"}
    assert trials
    assert {one["test_mAP50"] for one in trials.values()} == {""}
    cached = [path for path in (quick.root / ".dvc" / "tmp" / "exps" / "cache").rglob("*") if path.is_file()]
    written = {path: path.stat().st_mtime_ns for path in cached}
    assert len(cached) >= len(trials) + 1
    shown(quick)
    assert {path: path.stat().st_mtime_ns for path in cached} == written
    quick.run("git", "update-ref", "-d", "HEAD")
    assert quick.run(sys.executable, "-m", "stages", "compare").stdout.startswith(
        "no commit yet, so nothing to compare"
    )
