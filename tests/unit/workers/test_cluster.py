"""Workers on a cluster, as far as it goes without Ray: their places, what is sent to them, and what a machine keeps."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from stages.base.failures import Failure
from stages.experiments.origin import Origin
from stages.workers import ray_node
from stages.workers.launcher import open_launcher
from stages.workers.process import LocalLauncher
from stages.workers.ray_cluster import Node, places_of
from stages.workers.ray_node import RayTrainer, own_device, remove_old_data
from stages.workers.shipping import shards
from tests.unit.search.studies import params_with

ORIGIN = Origin("", "", "")


def node(gpus: int, cpus: int) -> Node:
    return Node("id", "host", gpus, cpus)


def test_a_machine_has_a_place_for_each_gpu_or_for_each_core() -> None:
    assert [place.gpus for place in places_of(node(2, 16), None, 1)] == [1, 1]
    assert [place.gpus for place in places_of(node(1, 16), None, 4)] == [0.25] * 4
    assert [place.threads for place in places_of(node(2, 16), None, 1)] == [8, 8]
    assert len(places_of(node(4, 16), "0,1", 2)) == 2  # each training takes two GPUs
    cores = places_of(node(0, 8), None, 2)
    assert [(place.gpus, place.cpus, place.threads) for place in cores] == [(0, 2, 2)] * 4
    assert len(places_of(node(2, 2), "cpu", 1)) == 2
    assert places_of(node(0, 0), None, 1) == []
    assert places_of(node(0, 8), "0", 1) == [], "params.yaml asks for a GPU"


@pytest.mark.parametrize(
    ("device", "own"), [(None, None), ("cpu", "cpu"), (1, 0), ("3", 0), ("2,3", "0,1"), ("mps", "mps")]
)
def test_an_actor_numbers_its_own_gpus_from_0(device: int | str | None, own: int | str | None) -> None:
    assert own_device(device) == own


def test_without_an_address_workers_are_local_and_without_ray_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert isinstance(open_launcher(params_with(), ORIGIN), LocalLauncher)
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")
    with pytest.raises(Failure, match=r"Ray is not installed: run `pip install -r requirements-ray.txt`"):
        open_launcher(params_with(tune__cluster="gpu-1:6379"), ORIGIN)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(Failure, match="RAY_ADDRESS: 'auto' is not allowed"):
        open_launcher(params_with(tune__cluster="gpu-1:6379"), ORIGIN)


def test_data_arrive_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    files = [source / "images" / f"{number}.jpg" for number in range(7)]
    (source / "images").mkdir(parents=True)
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 1000)
    linked = source / "images" / "linked.jpg"
    linked.symlink_to(files[0])
    monkeypatch.setattr(ray_node, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(ray_node, "DATA", tmp_path / "job" / "data" / "prepared")
    parts = list(shards(source, [*files, linked], size=3000))
    assert len(parts) > 2

    trainer = RayTrainer("d1", 1)
    assert not trainer.has_data()
    trainer.take_shard(parts[0], hashlib.sha256(parts[0]).hexdigest())
    with pytest.raises(OSError, match="damaged"):
        trainer.take_shard(parts[1], "0" * 64)
    with pytest.raises(OSError, match="of 8 files of the data have arrived"):
        trainer.complete_data(8)
    assert not trainer.has_data()
    for part in parts[1:]:
        trainer.take_shard(part, hashlib.sha256(part).hexdigest())
    trainer.complete_data(8)
    assert trainer.has_data()
    arrived = tmp_path / "job" / "data" / "prepared" / "images"
    assert sorted(path.name for path in arrived.iterdir()) == sorted(path.name for path in [*files, linked])
    assert not (arrived / "linked.jpg").is_symlink()
    assert (arrived / "linked.jpg").read_bytes() == files[0].read_bytes()
    assert RayTrainer("d1", 1).has_data()  # the next worker finds them


def test_data_that_no_study_has_used_for_long_are_removed(tmp_path: Path) -> None:
    ages = {"new": 0, "old": 31, "present": 40, "half.partial": 2, "arriving.partial": 0}
    for name, days in ages.items():
        (tmp_path / name).mkdir()
        when = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (when, when))
    remove_old_data(tmp_path, "present")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arriving.partial", "new", "present"]
