"""The full report: its facts, and its text for tables with missing parts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.decision.confirmation import Confirmation, Splits, first_settings
from stages.decision.evidence import Evidence
from stages.decision.verdict import decide
from stages.detector.as_is import AsIs
from stages.params.schema import Limits
from stages.report.text import Report, ReportInputs, render
from stages.report.tradeoff import pareto_front
from tests.helpers.study_tables import (
    DATA,
    STUDY,
    confirmed,
    read_tables,
    trial_rows,
    with_predictions,
    write_tables,
)


def written(
    study: Evidence, confirmation: Confirmation | None = None, limits: Limits | None = None, **others: Any
) -> Report:
    facts: dict[str, Any] = {
        "data": DATA, "source": "synthetic", "model": "yolov8n.yaml", "commit": "1234567", "hardware": "a machine",
        "as_is": None,
        "versions": "Python", "staging": "it stays.", "tested": {"mAP50": 0.7}, **others,
    }  # fmt: skip
    decision = decide(confirmation, facts["as_is"], limits) if confirmation else None
    report = render(ReportInputs(evidence=study, confirmation=confirmation, decision=decision, **facts))
    return Report(re.sub(" {2,}", " ", report.text), report.figures)  # without the padding of tables


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("study")
    write_tables(folder, trial_rows(16))
    return read_tables(folder)


@pytest.fixture(scope="module")
def full(study: Evidence) -> Report:
    """The report of that study with its confirmation."""
    return written(study, confirmed(study))


def test_every_run_is_listed_by_its_name_with_grid_and_study_in_tables_of_their_own(
    study: Evidence, full: Report
) -> None:
    grid, _, rest = full.text.partition("Study: 16 trials (14 complete, 1 pruned, 1 fail).")
    assert "| grid-1 | grid |" in grid
    for row in study.trials:
        assert f"| {row.number} | {row.name} |" in rest
    for repeat in confirmed(study).repeats:
        assert f"| {repeat.role} | {repeat.name} | {repeat.seed} |" in rest
    best = study.best
    assert best is not None
    assert f"**{best.value:.3f}**" in rest
    assert "fail: out of memory" in rest


def test_the_verdict_comes_first_with_its_interval_and_the_recommended_values_are_yaml(full: Report) -> None:
    text = full.text
    assert text.splitlines()[2].startswith("**Best against baseline, test split: better by 0.08")
    assert "3 seeds" in text.splitlines()[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    assert "epochs: 5" in block[1]
    assert "would have been found in 80 of 100 cases" in text


def test_the_intervals_over_seeds_over_images_and_over_both_are_shown_and_the_larger_uncertainty_is_named(
    study: Evidence,
) -> None:
    confirmation = with_predictions(confirmed(study))
    report = written(study, confirmation)
    gain = decide(confirmation).gain
    assert gain is not None
    assert gain.images is not None
    lines = report.text.splitlines()
    assert lines[2].endswith(", 3 seeds and 64 test images).**")
    assert lines[4].startswith("- The larger uncertainty is that of the ")
    assert report.text.count("The larger uncertainty is that of the ") == 2
    assert "| over seeds | over images | over both |" in report.text
    spans = (gain.seeds, gain.images.limits, gain.interval)
    columns = " | ".join(f"{span.low:+.3f} to {span.high:+.3f}" for span in spans)
    assert f"| best minus baseline | 3 | {gain.mean:+.3f} | {columns} |" in report.text
    assert "1,000 draws of 64 images" in report.text
    assert "With 3 seeds and 64 test images, and with this spread" in report.text
    assert "| best | " in report.text
    assert "the intervals over both cover other seeds, and other test images" in report.text


def test_without_the_predictions_of_one_repeat_the_intervals_are_over_seeds_and_a_line_says_so(
    study: Evidence, full: Report
) -> None:
    complete = with_predictions(confirmed(study))
    damaged = [*complete.repeats[:-1], replace(complete.repeats[-1], matches="damaged")]
    text = written(study, Confirmation(complete.settings, damaged, {})).text
    line = "The intervals cover the seeds alone and not the test images, because reports/evaluate/matches.csv of "
    assert f"- {line}{damaged[-1].name} cannot be read." in text
    assert text.count(damaged[-1].name + " cannot be read") == 1
    assert "over both" not in text
    assert "larger uncertainty" not in text
    assert f"- {line}confirm-000000-s1 is missing or damaged." in full.text
    assert "one test split of 64 images" in full.text


def test_each_figure_of_the_text_is_drawn_and_each_that_is_drawn_is_in_the_text(study: Evidence, full: Report) -> None:
    assert set(re.findall(r"figures/(\w+\.png)", full.text)) == set(full.figures)
    assert len(full.figures) == 5
    for content in full.figures.values():
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] >= 800
        assert len(content) < 150_000
    assert full.figures == written(study, confirmed(study)).figures, "the same results draw other bytes"


def pretrained(tested: float) -> AsIs:
    return AsIs("yolov8n.pt", {"person": "Normal"}, Path("w.pt"), "0" * 64, 160, ("person",), 0.55, tested, 9.0)


@pytest.mark.parametrize(("tested", "is_recommended"), [(0.5, False), (0.772, True)])
def test_the_pretrained_model_comes_first_and_is_recommended_unless_a_training_beats_it(
    study: Evidence, tested: float, is_recommended: bool
) -> None:
    report = written(study, confirmed(study), model="yolov8n.pt", as_is=pretrained(tested))
    text = report.text
    assert "- Gain from training: the best against yolov8n.pt without training, test split: " in text
    first = text.partition("The first row is the pretrained model without training.")[2].strip().splitlines()[2]
    assert first == f"| as-is-000000-160 | as is | - | 160 | - | 0.550 | {tested:.3f} | 0 |"
    assert f"| as is | imgsz 160 | no training | 0.550 | 0 | {tested:.3f} | no seed plays a part | 0 | 9.0 |" in text
    assert "| best minus as is | 3 |" in text
    assert "Model: yolov8n.pt. Its class rows of person are kept (head {person: Normal})." in text
    assert ("Recommended: the pretrained model without training (imgsz 160)" in text) == is_recommended
    assert ("without training: no training is distinguishably better on the test split" in text) == is_recommended
    assert ("`dvc exp apply confirm-" in text) != is_recommended
    assert set(report.figures) == set(re.findall(r"figures/(\w+\.png)", text))


def test_without_a_confirmation_the_pretrained_model_is_still_in_the_runs(study: Evidence) -> None:
    text = written(study, as_is=pretrained(0.5)).text
    assert "| as-is-000000-160 | as is |" in text
    assert "Not decided" in text


def test_the_effects_of_epochs_and_imgsz_are_sentences_that_say_whether_chance_explains_them(
    study: Evidence, full: Report
) -> None:
    text = full.text
    assert re.search(
        r"epochs: from 2 \(n = \d+\) to 5 \(n = \d+\) the mean changes by \+0\.1.*: more than chance", text
    )
    assert re.search(r"imgsz: from 128 .*: (chance|seeds alone) could explain it", text)
    assert "of the variance between the trials" in text
    assert "is not known: no setting was trained again" in written(study).text


def test_limits_are_in_the_context_the_runs_and_the_recommendation(tmp_path: Path, full: Report) -> None:
    rows = trial_rows(16)
    for row in rows:
        row["ms_per_image"] = row["imgsz"] / 10
    write_tables(tmp_path, rows, study={**STUDY, "limits": {"ms_per_image": 15}})
    tables = read_tables(tmp_path)
    assert tables.best is not None
    assert tables.best.point["imgsz"] == 128
    slow = sum(row.point["imgsz"] == 160 for row in tables.complete)
    limited = written(tables, confirmed(tables), limits=tables.limits)
    assert f"Limits of a setting: ms_per_image 15. {slow} of 14 complete trials break one" in limited.text
    assert limited.text.count("complete, breaks a limit: ms_per_image 16 > 15") == slow
    assert "Take the best setting: the baseline setting breaks a limit (ms_per_image 16 > 15)." in limited.text
    assert "Limits of a setting" not in full.text
    none = written(tables, confirmed(tables), limits=Limits.of({"ms_per_image": 7}))
    assert "None: no confirmed setting keeps the limits (baseline: ms_per_image 16 > 15; best:" in none.text
    assert limited.figures["tradeoff.png"] != full.figures["tradeoff.png"]


def test_over_splits_there_is_one_interval_and_the_report_says_what_the_splits_share(study: Evidence) -> None:
    repeats = replace(confirmed(study), splits=Splits({1: Path("a"), 2: Path("b"), 3: Path("c")}, 0.25))
    text = written(study, repeats).text
    assert ", 3 splits)" in text.partition("## Context")[0]
    assert "Basis of the decision: mAP50 on the test split, other seeds and other splits of the images." in text
    assert "test images over training images = 0.25" in text
    assert "the repeat with the split of the search: mAP50" in text
    assert "another split of the same images" in text
    drawn = written(study, replace(repeats, splits=Splits({1: Path("a"), 2: Path("b"), 3: Path("c")}, 0.0))).text
    assert "Each other one has other pictures" in drawn
    assert "same images" not in drawn.partition("## Recommendation")[0]
    assert "The test images of one repeat were training images of others" in text
    assert "over images" not in text.partition("## Confirmation")[2].partition("## Recommendation")[0]
    assert "Differences in mAP50 on the test split, split by split:" in text
    assert "The search has seen neither" not in text


def test_the_front_has_the_points_that_no_other_beats_in_both() -> None:
    assert pareto_front([(3, 0.5), (1, 0.2), (2, 0.5), (2, 0.1), (4, 0.6)]) == [(1, 0.2), (2, 0.5), (4, 0.6)]
    assert pareto_front([]) == []


def test_without_a_confirmation_nothing_is_decided_or_recommended(study: Evidence) -> None:
    text = written(study).text
    assert "Not decided" in text
    assert "```yaml" not in text
    failed = written(study, Confirmation(first_settings(study), [], {"confirm-123456-s1": "out of memory"})).text
    assert "confirm-123456-s1 is missing: out of memory" in failed


def test_a_grid_that_ran_with_values_of_the_study_is_called_no_fair_comparison(tmp_path: Path, full: Report) -> None:
    assert "which the study had found" not in full.text
    write_tables(tmp_path, trial_rows(16), grid=0)
    best = read_tables(tmp_path).best
    assert best is not None
    assert best.point["lr0"] != STUDY["start"]["params"]["lr0"]
    with (tmp_path / "compared.csv").open("a", encoding="utf-8") as file:
        for number in (2, 3):
            file.write(f"grid-{number},grid,0.7,20.0,0.7,8.0,{number},128,{best.point['lr0']}\n")
    text = written(read_tables(tmp_path)).text
    assert f"The grid ran with lr0 {best.point['lr0']:g}, which the study had found" in text


def test_without_a_seed_that_best_and_baseline_share_the_report_says_that_there_is_no_verdict(study: Evidence) -> None:
    complete = confirmed(study)
    failed = {"confirm-100000-s1": "out of memory"}
    alone = [repeat for repeat in complete.repeats if repeat.role == "baseline"]
    text = written(study, Confirmation(complete.settings, alone, failed)).text
    assert "Not decided: repeats with other seeds are missing" in text
    assert "There is no verdict: best and baseline share no seed" in text
    assert "`python -m stages.tune` tries these repeats again" in text
    unpaired = [repeat for repeat in complete.repeats if (repeat.seed == 1) == (repeat.role == "best")]
    text = written(study, Confirmation(complete.settings, unpaired, failed)).text
    assert "There is no verdict: best and baseline share no seed" in text
    assert "the baseline itself" not in text
    assert "Recommended: the best setting" in text


def test_a_study_of_three_trials_says_that_it_is_too_small(tmp_path: Path, full: Report) -> None:
    write_tables(tmp_path / "small", trial_rows(4, pruned=0, failed=0))
    text = written(read_tables(tmp_path / "small")).text
    assert "The study is too small: it has trained 3 trials" in text
    assert "too small" not in full.text


def test_what_is_missing_is_listed_by_name_and_the_report_is_made(tmp_path: Path) -> None:
    rows = trial_rows(14)
    rows[5]["mAP50"] = None
    rows[6]["seconds"] = None
    rows[7]["mAP50"] = "nan"
    rows[8]["number"] = "eight"
    write_tables(tmp_path / "study", rows)
    tables = read_tables(tmp_path / "study")
    text = written(tables, confirmed(tables), missing=["MLflow at sqlite:/// could not be used (OSError)"]).text
    missing = text.partition("## What is missing")[2]
    for line in (
        "lathy-aces: left out: its dvc.lock is damaged",
        "trial 5 (tune-0a1b2c-005): complete, but without a metric",
        "trial 6 (tune-0a1b2c-006): its cost is not known",
        "trials.csv, line 9: this row cannot be read",
        "trials.csv, line 10: this row cannot be read",
        "MLflow at sqlite:/// could not be used (OSError)",
    ):
        assert f"- {line}" in missing
    assert "Other experiments: 2 were made from other data or other code" in text
    (tmp_path / "study" / "compared.csv").unlink()
    assert "compared.csv: cannot be read (FileNotFoundError)" in written(read_tables(tmp_path / "study")).text


def test_a_run_with_other_fixed_parameters_is_listed_and_not_compared(tmp_path: Path) -> None:
    write_tables(tmp_path, trial_rows(16))
    head, *rows = (tmp_path / "compared.csv").read_text(encoding="utf-8").splitlines()
    pretrained = rows[0].replace("grid-0", "pretrained").replace("0.6", "0.95")
    lines = [f"{head},model,seed", *(f"{line},yolov8n.yaml,0" for line in rows), f"{pretrained},yolov8n.pt,0"]
    (tmp_path / "compared.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    tables = read_tables(tmp_path)
    assert [row.name for row in tables.compared] == ["grid-0", "grid-1"]
    text = written(tables).text
    assert "Not compared, because other parameters differ: pretrained (model yolov8n.pt, mAP50 0.950)." in text
    assert "| pretrained |" not in text
    assert text.count("0.950") == 1


def test_a_study_that_found_nothing_better_and_one_without_trials_of_its_own(tmp_path: Path) -> None:
    rows = trial_rows(3, pruned=0, failed=0)
    rows[0]["mAP50"] = 0.99
    write_tables(tmp_path / "study", rows)
    tables = read_tables(tmp_path / "study")
    assert [setting.role for setting in first_settings(tables)] == ["best"]
    text = written(tables, confirmed(tables)).text
    assert "The study found nothing better than its baseline" in text
    assert "There is no verdict: the best setting is the baseline itself." in text
    write_tables(tmp_path / "study", rows[:1], grid=0)
    assert "has trained no trial itself" in written(read_tables(tmp_path / "study")).text


def test_importances_are_those_of_the_study_and_without_them_a_dash(tmp_path: Path, full: Report) -> None:
    assert "| epochs | 0.93 |" in full.text
    assert "importance.png" in full.figures
    write_tables(tmp_path, trial_rows(16), study={key: value for key, value in STUDY.items() if key != "importances"})
    without = written(read_tables(tmp_path))
    assert "| epochs | - |" in without.text
    assert "importance.png" not in without.figures


def test_of_many_trials_the_best_are_shown_and_the_file_is_named(tmp_path: Path) -> None:
    write_tables(tmp_path / "study", trial_rows(120))
    text = written(read_tables(tmp_path / "study")).text
    assert "Study: 120 trials (118 complete, 1 pruned, 1 fail); the best 40 are shown." in text
    assert "reports/study/trials.csv lists all of them." in text
    assert len(re.findall(r"^\| \d+ \| tune-", text, re.MULTILINE)) <= 40
