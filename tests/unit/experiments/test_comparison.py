"""The table of all runs: from DVC's data, and as the command of a user."""

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
from stages.experiments.comparison import Comparison, compare
from stages.experiments.tables import comma_separated, markdown, terminal
from tests.helpers.project import Project

HEAD, OLD = "a" * 40, "b" * 40
PARAMS = {"epochs": 4, "lr0": 0.002, "device": None, "data": {"source": "synthetic", "seed": 0}, "tune": {"trials": 16}}


def data(value: Any = 0.5, params: dict[str, Any] | None = None, test: Any = 0.4, figures: int = 1) -> SerializableExp:
    """Return DVC's data of a run; if `test` is None, the file of test metrics is missing."""
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
    is_readable = isinstance(made, SerializableExp)
    data, error = (made, None) if is_readable else (None, made)
    return ExpRange([ExpState(rev=f"of {name}", name=name, data=data, error=error)], name=name)


def compared(*experiments: ExpRange, here: SerializableExp | None = None, old: tuple[ExpRange, ...] = ()) -> Comparison:
    """Compare a baseline with these experiments, and with `old` experiments of an older commit."""
    states = [
        ExpState(rev="workspace", data=here or data()),
        ExpState(rev=HEAD, data=data(), experiments=list(experiments) or None),
        ExpState(rev=OLD, data=data(), experiments=list(old) or None),
    ]
    starts = [*((OLD, run) for run in old), *((HEAD, run) for run in experiments)]
    return compare(states, {run.name: (run.revs[0].rev, start) for start, run in starts if run.name}, HEAD)


def names(table: Comparison) -> list[str]:
    return [run.name for run in table.runs]


def row(table: Comparison, name: str) -> dict[str, str]:
    return next(row for row in csv.DictReader(io.StringIO(comma_separated(table))) if row["run"] == name)


# Rows -----------------------------------------------------------------------------------------------------------------


def test_the_best_on_the_validation_split_is_first_and_a_missing_number_last() -> None:
    values = {"b": 0.6, "nan": float("nan"), "a": 0.6, "c": 0.9}
    assert names(compared(*(experiment(name, data(value)) for name, value in values.items()))) == [
        "c",
        "b",
        "a",
        "baseline-aaaaaaa",
        "nan",
    ]


def test_a_pretrained_model_without_training_is_first_and_once_for_each_size(tmp_path: Path) -> None:
    def pretrained(value: float, imgsz: int, as_is: float, **others: Any) -> SerializableExp:
        made = data(value, {"model": "yolov8n.pt", "head": {"person": "Normal"}, "imgsz": imgsz, **others})
        made.metrics[comparison.TRAINED]["data"] |= {"as_is_mAP50": as_is, "as_is_test_mAP50": as_is / 2}
        return made

    runs = [
        experiment("a", pretrained(0.8, 320, 0.6)),
        experiment("b", pretrained(0.9, 320, 0.6, lr0=0.1)),
        experiment("c", pretrained(0.7, 416, 0.65)),
    ]
    table = compared(*runs)
    assert names(table) == ["as-is", "as-is", "b", "a", "c", "baseline-aaaaaaa"]
    larger, smaller = table.runs[:2]
    assert larger.numbers["val_mAP50"] == 0.65
    assert larger.numbers["test_mAP50"] == 0.325
    assert (larger.numbers["train_seconds"], larger.numbers["ms_per_image"]) == (0.0, None)
    assert larger.changes == {"model": "yolov8n.pt", "head": "{person: Normal}", "imgsz": 416}
    assert "lr0" not in smaller.changes
    assert "as is" in terminal(table, 120)


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
def test_the_kind_of_a_run_follows_from_its_name_and_from_the_figures_of_its_decision(
    name: str, made: SerializableExp, kind: str
) -> None:
    assert row(compared(experiment(name, made)), name)["kind"] == kind


def test_changed_parameters_of_training_and_data_are_shown_but_not_those_of_the_study() -> None:
    params = {"epochs": 5, "device": "cpu", "data": {"source": "yolo", "seed": 0}, "tune": {"trials": 40}, "lr0": 1 / 3}
    table = compared(experiment("other", data(params=params)), experiment("same", data()))
    assert row(table, "other")["varies"] == f"epochs 5, lr0 {1 / 3}, device cpu, data.source yolo"
    assert row(table, "same")["varies"] == row(table, "baseline-aaaaaaa")["varies"] == "-"
    assert "epochs 5, lr0 0.3333, device cpu" in markdown(table)


def test_a_key_that_only_one_run_has_is_shown() -> None:
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
    table = compare(states, {}, HEAD, edited="epochs in params.yaml was changed since the last run")
    assert (row(table, "workspace")["varies"], row(table, "workspace")["val_mAP50"]) == ("epochs 9", "")
    assert names(table) == ["baseline-aaaaaaa", "workspace"]
    assert "left out: the workspace's numbers: epochs in params.yaml was changed" in terminal(table, 100)


def test_experiments_of_an_older_commit_stay_and_of_two_with_one_name_the_newer_counts() -> None:
    table = compared(experiment("twice", data(0.7)), old=(experiment("earlier", data(0.8)), experiment("once", data())))
    assert names(table) == ["earlier", "twice", "baseline-aaaaaaa", "once"]
    older, newer = experiment("twice", data(0.6)), experiment("twice", data(0.7))
    newer.revs[0].rev = "newer"
    states = [
        ExpState(rev=HEAD, data=data(), experiments=[older]),
        ExpState(rev=OLD, data=data(), experiments=[newer]),
    ]
    table = compare(states, {"twice": ("newer", OLD)}, HEAD)
    assert [run.numbers["val_mAP50"] for run in table.runs if run.name == "twice"] == [0.7]


def test_experiments_without_results_are_counted() -> None:
    states = [ExpState(rev=HEAD, data=data())]
    table = compare(states, {}, HEAD, {"failed": 2, "queued": 1})
    for text in (terminal(table, 100), markdown(table)):
        assert "without results: 2 failed, 1 queued; `dvc queue status` shows them" in text
        assert "no experiments yet" not in text
    assert "without results" not in terminal(compare(states, {}, HEAD), 100)


# Unreadable runs ------------------------------------------------------------------------------------------------------


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
    table = compared(experiment("broken", made), experiment("complete", data(0.9)))
    assert names(table) == ["complete", "baseline-aaaaaaa"]
    assert f"left out: broken: {why}" in terminal(table, 100).splitlines()


def test_an_experiment_whose_start_is_not_in_this_clone_is_named() -> None:
    table = compare([ExpState(rev=HEAD, data=data())], {"far": ("of far", OLD)}, HEAD)
    assert table.unreadable == [
        "far: DVC does not list it; is the commit bbbbbbb, from which it started, in this clone?"
    ]


def test_a_missing_test_is_a_dash_and_so_is_one_of_another_model() -> None:
    stale = replace(data(test=0.9), deps={comparison.MODEL: ExpDep("the model before", 1, None)})
    table = compared(experiment("tune-0a1b2c-001", data(test=None)), experiment("stale", stale))
    for name in ("tune-0a1b2c-001", "stale"):
        assert (row(table, name)["test_mAP50"], row(table, name)["ms_per_image"]) == ("", "")
    assert row(table, "baseline-aaaaaaa")["test_mAP50"] == "0.4"
    line = next(line for line in markdown(table).splitlines() if "stale" in line)
    assert [cell.strip() for cell in line.split("|")[6:9]] == ["-", "60.0", "-"]


def test_without_a_baseline_one_line_says_how_to_make_experiments() -> None:
    states = [ExpState(rev="workspace", data=without(comparison.TRAINED))]
    table = compare([*states, ExpState(rev=HEAD, data=without(comparison.TRAINED))], {}, HEAD)
    assert terminal(table, 100).splitlines() == [
        f"left out: baseline-aaaaaaa: {comparison.TRAINED} is missing",
        "no experiments yet: `dvc exp run --queue -S epochs=3,5 -S imgsz=128,160`, then `dvc queue start`",
    ]
    assert "no experiments yet" in terminal(compared(), 100)
    assert "no experiments yet" not in terminal(compared(experiment("one", data())), 100)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_the_best_of_each_split_is_marked() -> None:
    table = compared(experiment("best", data(0.81234)), experiment("tested", data(0.7, test=0.75)))
    cells = {line.split()[0]: line.split() for line in terminal(table, 100).splitlines() if line}
    assert cells["best"] == ["best", "grid", "-", "*0.812", "0.200", "0.400", "60.0", "10.0"]
    assert cells["tested"] == ["tested", "grid", "-", "0.700", "0.200", "*0.750", "60.0", "10.0"]
    page = markdown(table)
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


def test_a_long_table_shows_the_first_runs_and_the_baseline_and_the_csv_shows_all() -> None:
    table = compared(*(experiment(f"run-{place:03d}", data(0.6 + place / 1000)) for place in range(120)))
    for text, most in ((terminal(table, 100), 40), (markdown(table), 100)):
        shown = [word for word in text.split() if word.startswith("run-")]
        assert shown == [f"run-{place:03d}" for place in range(119, 119 - most, -1)]
        assert text.count("baseline-aaaaaaa") == 1
        assert f"of 121 runs the first {most} are shown; all are in reports/comparison.csv" in text
    assert len(list(csv.DictReader(io.StringIO(comma_separated(table))))) == 121
    few = compared(*(experiment(f"run-{place}", data(0.6)) for place in range(39)))
    assert "are shown" not in terminal(few, 100)


def test_the_csv_has_full_precision_and_every_training_parameter() -> None:
    table = compared(experiment("one", data(2 / 3, {"mosaic": 1e-05})))
    assert row(table, "one") == {
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
    assert row(table, "baseline-aaaaaaa")["mosaic"] == ""


# The command ----------------------------------------------------------------------------------------------------------


def shown(project: Project) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the output of the command, and the rows of the CSV by name."""
    done = project.run(sys.executable, "-m", "stages", "compare")
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(project.text("reports/comparison.csv")))}
    return done.stdout, rows


@pytest.mark.slow
@pytest.mark.long
def test_a_grid_is_compared_while_it_runs_after_it_and_after_the_next_commit(quick: Project) -> None:
    baseline = f"baseline-{quick.run('git', 'rev-parse', '--short=7', 'HEAD').stdout.strip()}"
    printed, rows = shown(quick)
    assert list(rows) == [baseline]
    assert "no experiments yet: `dvc exp run --queue" in printed
    quick.run("dvc", "exp", "run", "--queue", "-S", "epochs=2,3")
    quick.run("dvc", "exp", "run", "--queue", "-n", "fails", "-S", "batch=8")
    quick.run("dvc", "queue", "start", "-j", "2", env={"QUICK_FAILS": "8"})
    deadline = time.monotonic() + 300
    while "queued" in printed or "running" in printed or "no experiments yet" in printed:
        assert time.monotonic() < deadline
        time.sleep(2)  # each look takes time from the experiments
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
def test_trials_are_read_once_and_without_a_commit_one_line_is_printed(quick: Project) -> None:
    quick.run(sys.executable, "-m", "stages.study")
    _, rows = shown(quick)
    trials = {name: row for name, row in rows.items() if row["kind"] == "trial"}
    assert trials
    assert {row["test_mAP50"] for row in trials.values()} == {""}
    cached = [path for path in (quick.root / ".dvc" / "tmp" / "exps" / "cache").rglob("*") if path.is_file()]
    written = {path: path.stat().st_mtime_ns for path in cached}
    assert len(cached) >= len(trials) + 1
    shown(quick)
    assert {path: path.stat().st_mtime_ns for path in cached} == written
    quick.run("git", "update-ref", "-d", "HEAD")
    assert quick.run(sys.executable, "-m", "stages", "compare").stdout.startswith(
        "there is no commit yet and so nothing to compare"
    )
