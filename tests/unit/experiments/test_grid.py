"""A grid of named experiments: its points, the values that are refused, and the real queue."""

from __future__ import annotations

import sys

import pytest

from stages.base.failures import BadParams
from stages.experiments.grid import check, name_of, points
from stages.params import file as params_file
from tests.helpers.project import SOURCE, Project

CONTENT = params_file.read(SOURCE / "params.yaml")


def test_points_are_all_combinations_and_named_after_their_values() -> None:
    grid = points(["epochs=3,5", "imgsz=128,160"])
    assert [name_of(point) for point in grid] == [
        "epochs-3_imgsz-128", "epochs-3_imgsz-160", "epochs-5_imgsz-128", "epochs-5_imgsz-160",
    ]  # fmt: skip
    assert (
        name_of({"data.split.train": "0.5", "model": "weights/my model.pt"})
        == "data.split.train-0.5_model-weightsmymodel.pt"
    )


@pytest.mark.parametrize("sweeps", [[], ["epochs"], ["epochs=3", "epochs=5"], ["epochs=[3,"]])
def test_a_wrong_grid_is_one_line(sweeps: list[str]) -> None:
    with pytest.raises(BadParams) as refused:
        points(sweeps)
    assert refused.value.status == 2


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"epochs": "0"}, "epochs: 0 is not allowed; it must be a whole number from 1"),
        ({"epochs": "3", "imgsz": "100"}, "imgsz: 100 is not allowed"),
        ({"epoch": "3"}, "epoch: not in params.yaml"),
        ({"data.sources": "yolo"}, "data.sources: not in params.yaml"),
        ({"epochs.x": "3"}, "epochs.x: not in params.yaml"),
        ({"data.source.s.t": "1"}, "data.source.s.t: not in params.yaml"),
    ],
)
def test_a_wrong_point_names_key_value_and_allowed_values(point: dict[str, str], message: str) -> None:
    with pytest.raises(BadParams, match=r"epoch|imgsz|data") as refused:
        check(point, CONTENT)
    assert message in str(refused.value)
    check({"epochs": "3", "lr0": "1e-3", "device": "cpu"}, CONTENT)


def test_a_map_of_class_names_can_be_a_point() -> None:
    first, second = points(["head={person: Normal},keep"])
    assert [name_of(point) for point in (first, second)] == ["head-personNormal", "head-keep"]
    for point in (first, second):
        check(point, CONTENT)


@pytest.mark.slow
def test_a_wrong_point_queues_nothing_and_a_point_is_queued_once(quick: Project) -> None:
    grid = [sys.executable, "-m", "stages", "grid"]
    wrong = quick.run(*grid, "epochs=2,0", check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "2 queued; " in quick.run(*grid, "epochs=2,3").stdout
    assert "1 queued (already queued or finished: epochs-2, epochs-3)" in quick.run(*grid, "epochs=2,3,4").stdout
    shown = quick.run("dvc", "queue", "status").stdout
    assert [shown.count(f"epochs-{epochs} ") for epochs in (2, 3, 4)] == [1, 1, 1]
