"""The mirror in MLflow: one run per name, never doubled, and no failure of it stops a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from stages.base.paths import main_root
from stages.services import databases
from stages.services.databases import hidden
from stages.tracking import dataset
from stages.tracking import missed as pending_notes
from stages.tracking import store as tracking_store
from stages.tracking.mirror import Mirror
from stages.tracking.missed import noted, pending
from stages.tracking.record import Record, flat
from stages.tracking.store import KIND, Store, Unreachable
from tests.helpers.mlflow_server import NOWHERE, server  # noqa: F401 - a fixture
from tests.helpers.project import SOURCE

DIGEST = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (tracking_store, pending_notes):
        monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return tmp_path / "home"


@pytest.fixture
def store(empty_mlflow: Path, tmp_path: Path) -> Store:
    shutil.copyfile(empty_mlflow, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def run(tmp_path: Path) -> Record:
    """Return the record of a finished run."""
    (tmp_path / "params.yaml").write_text("epochs: 2\n", encoding="utf-8")
    (tmp_path / "0123abcd").write_bytes(b"weights")
    return Record(
        name="able-cat",
        params={"epochs": "2", "data.source": "synthetic"},
        points={("mAP50", 1): 0.2, ("mAP50", 2): 0.4, ("test/mAP50", 0): 0.5},
        tags={"git.commit": "0123456", "dvc.experiment": "able-cat", "data.digest": DIGEST},
        files={"params.yaml": tmp_path / "params.yaml", "model/best.pt": tmp_path / "0123abcd"},
        content="one",
    )


def runs(store: Store) -> list[Any]:
    return list(store.client.search_runs([store.experiment]))


def inputs(run: Any) -> list[tuple[str, str]]:
    """Return the name and the digest of each data set of a run."""
    return [(given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs]


def history(store: Store, key: str) -> list[tuple[int, float]]:
    (logged,) = runs(store)
    return [(point.step, point.value) for point in store.client.get_metric_history(logged.info.run_id, key)]


@pytest.mark.parametrize("where", ["sqlite", "server"])
def test_a_run_has_params_curves_tags_and_files(
    where: str, run: Record, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(request.getfixturevalue("server") if where == "server" else f"sqlite:///{tmp_path}/mlflow.db")
    assert store.write(run)
    (logged,) = runs(store)
    assert logged.info.run_name == "able-cat"
    assert logged.info.status == "FINISHED"
    assert logged.data.params == run.params
    assert run.tags.items() <= logged.data.tags.items()
    assert history(store, "mAP50") == [(1, 0.2), (2, 0.4)]
    assert logged.data.metrics["test/mAP50"] == 0.5
    weights = store.client.download_artifacts(logged.info.run_id, "model/best.pt", str(tmp_path / "kept"))
    assert Path(weights).read_bytes() == b"weights"
    (given,) = logged.inputs.dataset_inputs
    assert inputs(logged) == [("data/prepared", DIGEST[:36])]
    assert (given.dataset.source_type, json.loads(given.dataset.source)) == ("local", {"uri": "data/prepared"})
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    same_data = store.client.search_runs([store.experiment], f"dataset.digest = '{DIGEST[:36]}'")
    assert [found.info.run_id for found in same_data] == [logged.info.run_id]


def test_writing_again_changes_nothing(store: Store, run: Record) -> None:
    store.write(run)
    (before,) = runs(store)
    assert not store.write(run)
    (after,) = runs(store)
    assert after.info.run_id == before.info.run_id
    assert history(store, "mAP50") == [(1, 0.2), (2, 0.4)]
    assert len(inputs(after)) == 1


def test_an_interrupted_mirror_is_completed_in_the_same_run(store: Store, run: Record) -> None:
    store.write(replace(run, points={("mAP50", 1): 0.2}, content="half"))
    (before,) = runs(store)
    assert store.write(run)
    (after,) = runs(store)
    assert after.info.run_id == before.info.run_id
    assert history(store, "mAP50") == [(1, 0.2), (2, 0.4)]


OTHERS: list[dict[str, Any]] = [
    {"params": {"epochs": "3"}},
    {"points": {("mAP50", 1): 0.9}},
    {"tags": {"data.digest": "other"}},
]


@pytest.mark.parametrize("change", OTHERS)
def test_other_results_under_the_same_name_are_another_run(store: Store, run: Record, change: dict[str, Any]) -> None:
    """No finished run is deleted, and a record that is written again adds no run."""
    store.write(run)
    other = replace(run, **change, content="two")
    for record in (other, run, other):
        store.write(record)
    assert sorted(logged.data.tags["content"] for logged in runs(store)) == ["one", "two"]
    newest = store.find(run.name)
    assert newest is not None
    assert newest.data.tags["content"] == "two"
    assert newest.data.params == change.get("params", run.params)
    assert all(len(inputs(logged)) == 1 for logged in runs(store))


def test_an_interrupted_run_is_replaced_by_other_results(
    store: Store, run: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store.client.tracking_uri))
    broken = Mirror(run.name)
    broken.begin(run.params, run.tags)
    broken.log({("mAP50", 1): 0.7})
    store.write(run)
    assert history(store, "mAP50") == [(1, 0.2), (2, 0.4)]


def test_another_duration_is_not_another_result(store: Store, run: Record) -> None:
    for seconds in (50.0, 44.0):
        timed = {**run.points, ("train_seconds", 0): seconds}
        store.write(replace(run, points=timed, content=f"in {seconds}"))
    (logged,) = runs(store)
    assert logged.data.metrics["train_seconds"] == 44.0


def test_results_are_recognized_under_any_name(store: Store, run: Record) -> None:
    store.write(run)
    assert store.has_results("one")
    assert not store.has_results("two")


def test_a_live_run_is_completed_by_its_record(store: Store, run: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store.client.tracking_uri))
    live = Mirror(run.name)
    live.begin(run.params, run.tags)
    live.log({("mAP50", 1): 0.2})
    assert runs(store)[0].info.status == "RUNNING"
    assert inputs(runs(store)[0]) == [("data/prepared", DIGEST[:36])]
    assert pending(run.name).is_file()
    live.log({("mAP50", 2): 0.4})
    live.end("FINISHED")
    assert Mirror(run.name).write(run) is not None
    assert history(store, "mAP50") == [(1, 0.2), (2, 0.4)]
    assert runs(store)[0].data.metrics["test/mAP50"] == 0.5
    assert len(inputs(runs(store)[0])) == 1
    assert not pending(run.name).exists()


def test_a_complete_run_stays_as_it_is_if_its_training_begins_again_and_fails(
    store: Store, run: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code was changed and not committed, so the run has the same name and parameters."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store.client.tracking_uri))
    store.write(run)
    (before,) = runs(store)
    again = Mirror(run.name)
    again.begin(run.params, {**run.tags, "dvc.stage": "train"})
    again.end("FAILED")
    (after,) = runs(store)
    assert (after.info.status, after.data.tags) == ("FINISHED", before.data.tags)
    assert not pending(run.name).exists()


def test_a_training_begun_again_with_the_same_results_is_the_same_run(
    store: Store, run: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training was killed, and the command repeated."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store.client.tracking_uri))
    for _ in range(2):
        live = Mirror(run.name)
        live.begin(run.params, run.tags)
        live.log({("mAP50", 1): 0.2})
    assert history(store, "mAP50") == [(1, 0.2)]


def test_the_data_set_has_the_counts_of_its_splits_where_this_checkout_has_them(
    store: Store, run: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    (tmp_path / "reports" / "data").mkdir(parents=True)
    summary = {"digest": DIGEST, "splits": {"train": {"images": 256, "boxes": 590}, "val": {"images": 64, "boxes": 0}}}
    (tmp_path / "reports" / "data" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    store.write(run)
    store.write(replace(run, name="bold-dog", tags={"data.digest": "other"}, content="two"))
    profiles = {logged.info.run_name: logged.inputs.dataset_inputs[0].dataset.profile for logged in runs(store)}
    assert profiles["bold-dog"] is None
    assert json.loads(profiles["able-cat"]) == {"train": "256 images, 590 boxes", "val": "64 images, 0 boxes"}


def test_runs_of_an_earlier_version_get_their_data_set_once(store: Store, run: Record) -> None:
    store.write(run)
    old = store.client.create_run(store.experiment, run_name="old", tags={"data.digest": DIGEST})
    foreign = store.client.create_run(store.experiment, run_name="foreign")
    assert store.add_missing_datasets() == 1
    assert store.add_missing_datasets() == 0
    assert inputs(store.client.get_run(old.info.run_id)) == [("data/prepared", DIGEST[:36])]
    assert inputs(store.client.get_run(foreign.info.run_id)) == []


def test_the_experiment_is_one_of_model_training_unless_the_user_says_otherwise(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind() -> str | None:
        return store.client.get_experiment(store.experiment).tags.get(KIND)

    uri = str(store.client.tracking_uri)
    assert kind() == "custom_model_development"
    store.client.delete_experiment_tag(store.experiment, KIND)  # as an earlier version of this project has made it
    Store(uri)
    assert kind() == "custom_model_development"
    store.client.set_experiment_tag(store.experiment, KIND, "finetuning")
    Store(uri)
    assert kind() == "finetuning"

    def refuse(*_: object) -> None:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    store.client.delete_experiment_tag(store.experiment, KIND)
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert Store(uri).experiment == store.experiment, "an account that may only read can still read"


def test_without_a_server_there_is_one_warning_for_all_stages(
    run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    training = Mirror(run.name)
    training.begin(run.params, run.tags)
    training.log({("mAP50", 1): 0.2})
    training.end("FINISHED")
    assert Mirror(run.name).write(run) is None
    warnings = capsys.readouterr().err.strip().splitlines()
    assert len(warnings) == 1
    assert f"MLflow at {NOWHERE} cannot be used" in warnings[0]
    assert "make sync" in warnings[0]
    assert noted(run.name) == {"warned": True, "content": "one"}


def test_a_server_that_goes_away_does_not_stop_the_run(
    store: Store, run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(store.client.tracking_uri))
    live = Mirror(run.name)
    live.begin(run.params, run.tags)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    for step in (1, 2, 3):
        live.log({("mAP50", step): 0.1})
    assert capsys.readouterr().err.count("cannot be used") == 1


def test_a_store_that_cannot_be_used_raises_unreachable() -> None:
    with pytest.raises(Unreachable):
        Store(NOWHERE)


def test_two_processes_may_make_one_database_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stages.tracking import store; store.HOME = Path('home');"
        "from stages.tracking.store import Store; Store('sqlite:///absent.db').client.search_experiments()"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[1] for process in started] == ["", "", ""]
    assert [process.returncode for process in started] == [0, 0, 0]
    experiments = Store(f"sqlite:///{tmp_path}/absent.db").client.search_experiments()
    assert [experiment.name for experiment in experiments if experiment.name != "Default"] == [
        tracking_store.EXPERIMENT
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_kill_while_the_database_is_made_leaves_none_that_is_broken(tmp_path: Path, home: Path) -> None:
    code = (
        f"from pathlib import Path; from stages.tracking import store; store.HOME = Path({str(home)!r});"
        f"store.Store('sqlite:///{tmp_path}/absent.db')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "absent.db.partial").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert not (tmp_path / "absent.db").exists(), "the process had already finished the database"
    experiments = Store(f"sqlite:///{tmp_path}/absent.db").client.search_experiments()
    assert tracking_store.EXPERIMENT in {experiment.name for experiment in experiments}
    assert not list(tmp_path.glob("absent.db.partial*"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://ann:secret@host:5000/path", "http://***@host:5000/path"),
        ("http://secret@host", "http://***@host"),
        ("http://ann:se@cret@host", "http://***@host"),
        ("https://host/mlflow?token=secret", "https://host/mlflow"),
        ("postgresql+psycopg2://ann:secret@host/db", "postgresql+psycopg2://***@host/db"),
        ("sqlite:////x/mlflow.db", "sqlite:////x/mlflow.db"),
        ("./mlruns", "./mlruns"),
        ("http://host:abc", "http://host:abc"),
    ],
)
def test_no_password_is_printed(address: str, shown: str) -> None:
    assert hidden(address) == shown


@pytest.mark.parametrize("address", ["./mlruns", "http://host:abc", "nonsense://x", NOWHERE])
def test_no_address_stops_a_run(
    run: Record, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    live = Mirror(run.name)
    live.begin(run.params, run.tags)
    live.log(run.points)
    live.end("FINISHED")
    assert capsys.readouterr().err.count("cannot be used") == 1


def test_a_relative_database_is_in_the_main_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queued experiment runs in a folder of its own, which DVC removes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert databases.mlflow_address() == f"sqlite:///{main_root().as_posix()}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert databases.mlflow_address() == "http://127.0.0.1:5000"


def test_parameters_are_flat_text() -> None:
    nested = {"epochs": 3, "device": None, "data": {"classes": ["person"], "split": {"train": 5}}}
    assert flat(nested) == {"epochs": "3", "device": "null", "data.classes": "['person']", "data.split.train": "5"}
