"""The decision report from tables: what it tells, and what it does with tables that lack something."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.decision import evidence
from stages.decision.confirmation import Confirmation, Repeat, cheapest_setting, first_settings
from stages.decision.evidence import Evidence, Row
from stages.decision.significance import Noise
from stages.decision.verdict import decide
from stages.detector.as_is import AsIs
from stages.report.best_so_far import curve, random_orders
from stages.report.importance import importances, influences
from stages.report.text import Report, Subject, report

SPACE = {
    "epochs": {"low": 2, "high": 5, "log": False},
    "imgsz": {"choices": [128, 160], "log": False},
    "lr0": {"low": 5e-4, "high": 5e-3, "log": True},
}
STUDY: dict[str, Any] = {
    "name": "tune-0a1b2c",
    "data": "d" * 64,
    "code": "c0de",
    "space": SPACE,
    "fixed": {"model": "yolov8n.yaml", "seed": 0},
    "sampler": "tpe",
    "pruner": "median",
    "trials": {"complete": 14, "pruned": 1, "fail": 1},
    "best": None,
    "start": {"params": {"epochs": 4, "imgsz": 160, "lr0": 0.002}, "mAP50": 0.72},
    "left_out": {"other data or code": 2, "unreadable": {"lathy-aces": "its dvc.lock is damaged"}},
}
DATA = {"splits": {split: {"images": 64, "boxes": 150} for split in ("train", "val", "test")}, "digest": "d" * 64}


def made(count: int, pruned: int = 1, failed: int = 1) -> list[dict[str, Any]]:
    """Rows of trials.csv: the baseline, then trials that are better with more epochs."""
    random = np.random.default_rng(0)
    rows = [{"number": 0, "name": "baseline-1234567", "source": "baseline", "state": "complete", "mAP50": 0.72,
             "seconds": 40.0, "epochs_trained": 4, "epochs": 4, "imgsz": 160, "lr0": 0.002}]  # fmt: skip
    for number in range(1, count):
        epochs = int(random.integers(2, 6))
        state = "pruned" if number <= pruned else "fail" if number <= pruned + failed else "complete"
        point = {"epochs": epochs, "imgsz": int(random.choice([128, 160])), "lr0": round(random.uniform(5e-4, 5e-3), 6)}
        value = 0.5 + 0.06 * epochs + random.normal(0, 0.005)
        rows.append({
            "number": number, "name": f"tune-0a1b2c-{number:03d}", "source": "sampler", "state": state, **point,
            "mAP50": None if state == "fail" else 0.2 if state == "pruned" else round(float(value), 5),
            "seconds": 10.0 * epochs, "epochs_trained": 1 if state == "pruned" else epochs,
            "reason": "out of memory" if state == "fail" else "",
        })  # fmt: skip
    return rows


def write(folder: Path, trials: list[dict[str, Any]], grid: int = 2, study: dict[str, Any] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(STUDY if study is None else study), encoding="utf-8")
    head = ["number", "name", "source", "state", "mAP50", "best", "seconds", "epochs_trained", *SPACE, "reason"]
    _write(folder / "trials.csv", head, trials)
    runs = [{"name": f"grid-{number}", "source": "grid", "mAP50": 0.6 + number / 100, "seconds": 20.0, "epochs": 3,
             "test_mAP50": 0.59, "ms_per_image": 8.0, "imgsz": 128, "lr0": 0.001 * (number + 1)}
            for number in range(grid)]  # fmt: skip
    _write(folder / "compared.csv", ["name", "source", "mAP50", "seconds", "test_mAP50", "ms_per_image", *SPACE], runs)


def _write(path: Path, head: list[str], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, head, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def read(folder: Path) -> Evidence:
    found = evidence.read(folder)
    assert found is not None
    return found


def confirmed(found: Evidence, seeds: int = 3) -> Confirmation:
    settings = first_settings(found)
    repeats = [
        Repeat(setting.role, f"confirm-{place}{'0' * 5}-s{seed}", seed, 0.70 + 0.08 * place + seed / 50,
               0.69 + 0.08 * place + (seed + place) % 3 / 1000, 40.0, 8.0)
        for place, setting in enumerate(settings)
        for seed in range(1, seeds + 1)
    ]  # fmt: skip
    return Confirmation(settings, repeats, {})


def written(found: Evidence, done: Confirmation | None = None, **others: Any) -> Report:
    facts: dict[str, Any] = {
        "data": DATA, "source": "synthetic", "model": "yolov8n.yaml", "commit": "1234567", "hardware": "a machine",
        "as_is": None,
        "versions": "Python", "staging": "it stays.", "tested": {"mAP50": 0.7}, **others,
    }  # fmt: skip
    decision = decide(done, facts["as_is"]) if done else None
    return report(Subject(evidence=found, done=done, decision=decision, **facts))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("study")
    write(folder, made(16))
    return read(folder)


@pytest.fixture(scope="module")
def whole(study: Evidence) -> Report:
    """The report of that study with its confirmation."""
    return written(study, confirmed(study))


def test_every_run_is_told_by_its_name_and_grid_and_study_apart(study: Evidence, whole: Report) -> None:
    done, text = confirmed(study), whole.text
    grid, _, rest = text.partition("The study, 16 trials (14 complete, 1 pruned, 1 fail):")
    assert "| grid-1 | grid |" in grid
    for row in study.trials:
        assert f"| {row.number} | {row.name} |" in rest
    for one in done.repeats:
        assert f"| {one.role} | {one.name} | {one.seed} |" in rest
    best = study.best
    assert best is not None
    assert f"**{best.value:.3f}**" in rest
    assert "fail: out of memory" in rest


def test_the_verdict_stands_first_with_its_interval_and_the_block_to_paste_is_yaml(whole: Report) -> None:
    text = whole.text
    assert text.splitlines()[2].startswith("**Best against baseline, test split: better by 0.08")
    assert "3 seeds" in text.splitlines()[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    assert "epochs: 5" in block[1]
    assert "would have been found in 80 of 100 cases" in text


def test_each_figure_of_the_text_is_drawn_and_each_that_is_drawn_is_in_the_text(study: Evidence, whole: Report) -> None:
    found = whole
    assert set(re.findall(r"figures/(\w+\.png)", found.text)) == set(found.figures)
    assert len(found.figures) == 5
    for content in found.figures.values():
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] >= 800
        assert len(content) < 150_000
    assert found.figures == written(study, confirmed(study)).figures, "the same results draw other bytes"


def pretrained(tested: float) -> AsIs:
    return AsIs("yolov8n.pt", {"person": "Normal"}, Path("w.pt"), "0" * 64, 160, ("person",), 0.55, tested, 9.0)


@pytest.mark.parametrize(("tested", "taken"), [(0.5, False), (0.772, True)])
def test_the_model_as_it_is_stands_first_and_is_taken_where_training_does_not_beat_it(
    study: Evidence, tested: float, taken: bool
) -> None:
    found = written(study, confirmed(study), model="yolov8n.pt", as_is=pretrained(tested))
    text = found.text
    assert "- What training adds: the best beside yolov8n.pt as it is, without training, test split: " in text
    first = text.partition("after the model as it is, without training:")[2].strip().splitlines()[2]
    assert first == f"| as-is-000000-160 | as is | - | 160 | - | 0.550 | {tested:.3f} | 0 |"
    assert f"| as is | imgsz 160 | no training | 0.550 | 0 | {tested:.3f} | no seed plays a part | 0 | 9.0 |" in text
    assert "| best minus as is | 3 |" in text
    assert "yolov8n.pt, whose rows of person are kept (head {person: Normal})" in text
    assert ("To take: the model as it is, without training (imgsz 160)" in text) == taken
    assert ("The model as it is: no training is distinguishably better on the test split" in text) == taken
    assert ("`dvc exp apply confirm-" in text) != taken
    assert set(found.figures) == set(re.findall(r"figures/(\w+\.png)", text))


def test_without_a_confirmation_the_model_as_it_is_is_still_in_the_runs(study: Evidence) -> None:
    text = written(study, as_is=pretrained(0.5)).text
    assert "| as-is-000000-160 | as is |" in text
    assert "Not decided" in text


def test_epochs_and_imgsz_are_told_in_words_with_what_seeds_alone_could_make(study: Evidence, whole: Report) -> None:
    text = whole.text
    assert re.search(
        r"epochs: from 2 \(n = \d+\) to 5 \(n = \d+\) the mean changes by \+0\.1.*: more than chance", text
    )
    assert re.search(r"imgsz: from 128 .*: (chance|seeds alone) could make it", text)
    assert "of the variance between the trials" in text
    assert "is not known: nothing was trained again" in written(study).text


def test_without_a_confirmation_nothing_is_decided_or_recommended(study: Evidence) -> None:
    text = written(study).text
    assert "Not decided" in text
    assert "```yaml" not in text
    failed = written(study, Confirmation(first_settings(study), [], {"confirm-123456-s1": "out of memory"})).text
    assert "confirm-123456-s1 is lacking: out of memory" in failed


def test_a_grid_that_was_run_with_what_the_study_found_is_said_to_be_no_race(tmp_path: Path, whole: Report) -> None:
    assert "which the study had found" not in whole.text
    write(tmp_path, made(16), grid=0)
    best = read(tmp_path).best
    assert best is not None
    assert best.point["lr0"] != STUDY["start"]["params"]["lr0"]
    with (tmp_path / "compared.csv").open("a", encoding="utf-8") as file:
        for number in (2, 3):
            file.write(f"grid-{number},grid,0.7,20.0,0.7,8.0,{number},128,{best.point['lr0']}\n")
    text = written(read(tmp_path)).text
    assert f"The grid was run with lr0 {best.point['lr0']:g}, which the study had found" in text


def test_repeats_that_all_failed_or_share_no_seed_are_no_verdict_and_said_to_be_so(study: Evidence) -> None:
    done = confirmed(study)
    failed = {"confirm-100000-s1": "out of memory"}
    alone = [one for one in done.repeats if one.role == "baseline"]
    text = written(study, Confirmation(done.settings, alone, failed)).text
    assert "Not decided: repeats with other seeds are lacking" in text
    assert "there is no verdict" in text
    assert "`python -m stages.tune` tries these again" in text
    apart = [one for one in done.repeats if (one.seed == 1) == (one.role == "best")]
    text = written(study, Confirmation(done.settings, apart, failed)).text
    assert "there is no verdict" in text
    assert "the baseline itself" not in text
    assert "To take: the best setting" in text


def test_a_study_of_three_trials_says_that_it_is_too_small(tmp_path: Path, whole: Report) -> None:
    write(tmp_path / "small", made(4, pruned=0, failed=0))
    text = written(read(tmp_path / "small")).text
    assert "The study is too small: it has trained 3 trials" in text
    assert "too small" not in whole.text


def test_what_is_missing_is_told_by_name_and_the_report_is_made(tmp_path: Path) -> None:
    rows = made(14)
    rows[5]["mAP50"] = None
    rows[6]["seconds"] = None
    rows[7]["mAP50"] = "nan"
    rows[8]["number"] = "eight"
    write(tmp_path / "study", rows)
    found = read(tmp_path / "study")
    text = written(found, confirmed(found), missing=["MLflow at sqlite:/// could not be used (OSError)"]).text
    missing = text.partition("## What is missing")[2]
    for line in (
        "lathy-aces: left out: its dvc.lock is damaged",
        "trial 5 (tune-0a1b2c-005): complete, but without a metric",
        "trial 6 (tune-0a1b2c-006): its cost is not known",
        "trials.csv, line 9: not of the form that this report reads",
        "trials.csv, line 10: not of the form that this report reads",
        "MLflow at sqlite:/// could not be used (OSError)",
    ):
        assert f"- {line}" in missing
    assert "2 experiments were made from other data or other code" in text
    (tmp_path / "study" / "compared.csv").unlink()
    assert "compared.csv: cannot be read (FileNotFoundError)" in written(read(tmp_path / "study")).text


def test_no_study_is_none_and_one_of_another_form_is_a_line(tmp_path: Path) -> None:
    assert evidence.read(tmp_path) is None
    (tmp_path / "study.json").write_text("{}", encoding="utf-8")
    assert evidence.read(tmp_path) is None
    damages: list[dict[str, Any]] = [{"start": {}}, {"space": {"lr0": None}}, {"best": {"number": 1}}, {"trials": []}]
    for changes in damages:
        (tmp_path / "study.json").write_text(json.dumps({**STUDY, **changes}), encoding="utf-8")
        with pytest.raises(evidence.Damaged, match=r"reports/study/study\.json cannot be read"):
            evidence.read(tmp_path)
    (tmp_path / "study.json").write_text("damaged", encoding="utf-8")
    with pytest.raises(evidence.Damaged):
        evidence.read(tmp_path)


def test_a_run_with_other_keys_is_told_and_compared_with_nothing(tmp_path: Path) -> None:
    write(tmp_path, made(16))
    head, *rows = (tmp_path / "compared.csv").read_text(encoding="utf-8").splitlines()
    pretrained = rows[0].replace("grid-0", "pretrained").replace("0.6", "0.95")
    lines = [f"{head},model,seed", *(f"{line},yolov8n.yaml,0" for line in rows), f"{pretrained},yolov8n.pt,0"]
    (tmp_path / "compared.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    found = read(tmp_path)
    assert [row.name for row in found.compared] == ["grid-0", "grid-1"]
    text = written(found).text
    assert "Compared with nothing here, because other keys differ: pretrained (model yolov8n.pt, mAP50 0.950)." in text
    assert "| pretrained |" not in text
    assert "0.950" not in text.partition("## Optuna")[2]


def test_a_study_that_found_nothing_better_and_one_without_trials_of_its_own(tmp_path: Path) -> None:
    rows = made(3, pruned=0, failed=0)
    rows[0]["mAP50"] = 0.99
    write(tmp_path / "study", rows)
    found = read(tmp_path / "study")
    assert [setting.role for setting in first_settings(found)] == ["best"]
    text = written(found, confirmed(found)).text
    assert "The study found nothing better than what it started from" in text
    assert "there is no difference to judge" in text
    write(tmp_path / "study", rows[:1], grid=0)
    assert "has trained no trial itself" in written(read(tmp_path / "study")).text


def test_the_cheapest_within_the_noise_is_a_setting_if_it_saves_a_tenth(study: Evidence) -> None:
    best = study.best
    assert best is not None
    settings = first_settings(study)
    wide = cheapest_setting(study, settings, Noise(0.05, 4))
    assert wide is not None
    assert wide.seconds is not None
    assert best.seconds is not None
    assert wide.seconds <= 0.9 * best.seconds
    assert cheapest_setting(study, settings, Noise(0.0001, 4)) is None
    assert cheapest_setting(study, settings, None) is None


def test_the_best_so_far_is_a_step_function_of_the_cost() -> None:
    found = curve([2, 3, 5], [0.4, 0.3, 0.6])
    assert [found.at(cost) for cost in (1, 2, 4.9, 5, 10, 99)] == [None, 0.4, 0.4, 0.4, 0.6, 0.6]


def test_random_orders_begin_between_the_values_and_end_at_the_best() -> None:
    found = random_orders([1] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], [1, 3])
    assert found.at(0) is None
    first, last = found.at(1), found.at(5)
    assert first is not None
    assert first[1] == pytest.approx(0.3, abs=0.03)
    assert last == pytest.approx((0.5, 0.5, 0.5))
    third = found.at(3)
    assert third is not None
    assert third[1] == pytest.approx(0.45, abs=0.03)  # the mean of the greatest of three of five


def row(value: float, **point: Any) -> Row:
    return Row("run", 1, "sampler", "complete", value, 1.0, 1, point)


def test_groups_are_values_where_they_are_few_and_ranges_where_they_are_many() -> None:
    rows = [row(0.5, optimizer="SGD"), row(0.7, optimizer="AdamW"), row(0.9, optimizer="AdamW")]
    (few,) = influences(rows, {"optimizer": {"choices": ["SGD", "AdamW"]}}, ["optimizer"], None)
    assert [(group.label, round(group.mean, 6), group.n) for group in few.groups] == [
        ("AdamW", 0.8, 2),
        ("SGD", 0.5, 1),
    ]
    many_rows = [row(number / 10, lr0=number / 1000) for number in range(9)]
    (many,) = influences(many_rows, {"lr0": {"low": 0.0, "high": 0.1}}, ["lr0"], None)
    assert [group.n for group in many.groups] == [3, 3, 3]
    assert many.groups[0].label == "0 to 0.002"


def test_a_key_that_does_nothing_is_no_more_than_chance_in_nineteen_of_twenty_studies() -> None:
    random = np.random.default_rng(0)
    called = 0
    for _ in range(100):
        rows = [row(float(random.normal(0.7, 0.05)), epochs=int(random.integers(2, 6))) for _ in range(20)]
        (found,) = influences(rows, {"epochs": {"low": 2, "high": 5}}, ["epochs"], Noise(0.05, 6))
        assert found.chance is not None
        assert found.seeds is not None
        assert 0.5 < found.seeds / found.chance < 4  # here seeds are all that there is
        called += found.difference > found.chance
    assert called <= 12


def test_importance_finds_the_key_that_matters_and_says_nothing_of_too_few(study: Evidence) -> None:
    found = importances(study.complete, SPACE)
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=lambda key: found[key]) == "epochs"
    assert importances(study.complete[:3], SPACE) == {}
    assert importances([row(0.5, epochs=3, imgsz=128, lr0=0.001)] * 9, SPACE) == {}


def test_of_many_trials_the_best_are_shown_and_the_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "study", made(120))
    text = written(read(tmp_path / "study")).text
    assert "The study, 120 trials (118 complete, 1 pruned, 1 fail); the best 40:" in text
    assert "All of them are in reports/study/trials.csv." in text
    assert len(re.findall(r"^\| \d+ \| tune-", text, re.MULTILINE)) <= 40
