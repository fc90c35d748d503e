"""Which model takes staging: MLflow and its registry are real, the weights are any bytes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from stages.decision import staging
from stages.decision.confirmation import Confirmation, Repeat, Setting
from stages.decision.verdict import Decision, decide
from stages.detector import evaluation
from stages.detector.as_is import AsIs
from stages.experiments import refs
from stages.tracking import missed, registry
from stages.tracking import store as tracking_store
from stages.tracking.store import Store

NAME = "confirm-0a1b2c-s1"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing in it: to make one takes seconds, and a copy is as good."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", path.parent.as_uri()).engine.dispose()
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    for module in (tracking_store, registry, missed):
        monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.setattr(tracking_store, "main_root", lambda: tmp_path)
    monkeypatch.setattr(staging, "DATA", tmp_path / "data" / "prepared")
    return Store(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What DVC's cache holds of the run that is offered; change it, and another model is offered."""
    kept = {NAME: b"the first"}
    monkeypatch.setattr(refs, "experiments", lambda: {NAME: ("a revision", "its start")})

    def fetch(revision: str, to: Path) -> bool:
        to.write_bytes(kept[NAME])
        return True

    monkeypatch.setattr(staging, "_fetch", fetch)
    return kept


def run(store: Store) -> Run:
    return store.client.create_run(store.experiment, run_name=NAME)


def decided(*tested: float) -> Decision:
    """A setting with these values on the test split; the first is the best on the validation split."""
    repeats = [
        Repeat(
            "best", NAME if not place else f"confirm-0a1b2c-s{place + 1}", place + 1, 0.9 - place / 100, value, 9.0, 8.0
        )
        for place, value in enumerate(tested)
    ]
    return decide(Confirmation([Setting("best", "a-run", {"imgsz": 128}, 0.8, 9.0)], repeats, {}))


def offer(decision: Decision, data: str = "this data") -> staging.Offer:
    return staging.Offer(decision, "a commit", data, 128, "cpu")


def held(store: Store) -> registry.Staged:
    found = registry.staged(store)
    assert found is not None
    return found


def test_the_pretrained_model_is_registered_as_it_is_with_a_run_of_its_own(store: Store, tmp_path: Path) -> None:
    weights = tmp_path / "derived.pt"
    weights.write_bytes(b"as it is")
    digest = hashlib.sha256(b"as it is").hexdigest()
    as_is = AsIs("yolov8n.pt", {"person": "Normal"}, weights, digest, 320, ("person",), 0.55, 0.6, 9.0)
    done = Confirmation(
        [Setting("best", "a-run", {"imgsz": 128}, 0.8, 9.0)], [Repeat("best", NAME, 1, 0.6, 0.61, 9.0, 8.0)], {}
    )
    offered = staging.Offer(decide(done, as_is), "a commit", "this data", 320, "cpu", as_is)
    told = staging.put(store, offered)
    assert told == (f"version 1 of person-detector ({as_is.name}) has the alias `staging` now: nothing held the alias.")
    there = held(store)
    assert (there.tags["run"], there.tags["test_mAP50"], there.tags["imgsz"]) == (as_is.name, "0.6", "320")
    assert "dvc.experiment" not in there.tags
    assert there.tags["weights"] == hashlib.md5(b"as it is").hexdigest()
    made = store.find(as_is.name)
    assert made is not None
    assert there.run_id == made.info.run_id
    assert made.data.params == {"model": "yolov8n.pt", "head": "{person: Normal}", "imgsz": "320", "epochs": "0"}
    assert (made.data.metrics["val/mAP50"], made.data.metrics["test/mAP50"]) == (0.55, 0.6)
    assert "is this very model" in staging.put(store, offered)
    assert len(store.client.search_runs([store.experiment])) == 1


def test_the_first_model_takes_it_and_the_same_again_changes_nothing(store: Store) -> None:
    made = run(store)
    told = staging.put(store, offer(decided(0.70, 0.72, 0.71)))
    assert (
        told == "version 1 of person-detector (confirm-0a1b2c-s1) has the alias `staging` now: nothing held the alias."
    )
    there = held(store)
    assert there.run_id == made.info.run_id
    assert there.tags["weights"] == hashlib.md5(b"the first").hexdigest()
    assert (there.tags["test_mAP50"], there.tags["data.digest"], there.tags["imgsz"]) == ("0.7", "this data", "128")
    assert "is this very model" in staging.put(store, offer(decided(0.70, 0.72, 0.71)))
    assert held(store).version == "1"


@pytest.mark.parametrize(
    ("tested", "version", "told"),
    [
        ((0.80, 0.81, 0.79), "2", "better by 0.100"),
        ((0.80, 0.60, 0.72), "1", "not distinguishable (+0.007"),
        ((0.60, 0.61, 0.59), "1", "worse by 0.100"),
        ((0.69, 0.81, 0.82, 0.83, 0.82, 0.81), "1", "but the very model confirm-0a1b2c-s1 has only 0.690"),
        ((0.9,), "1", "one seed gives no interval"),
    ],
)
def test_another_takes_it_only_if_it_is_better(
    store: Store, weights: dict[str, bytes], tested: tuple[float, ...], version: str, told: str
) -> None:
    run(store)
    staging.put(store, offer(decided(0.70)))
    weights[NAME] = b"the second"
    said = staging.put(store, offer(decided(*tested)))
    assert told in said
    assert ("stays" in said) == (version == "1")
    assert held(store).version == version


def test_on_other_data_the_holder_is_measured_again(
    store: Store, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def measure(model: Path, data: Path, work: Path, imgsz: int, device: str) -> SimpleNamespace:
        seen.append((model.read_bytes(), imgsz, device))
        return SimpleNamespace(metrics={"mAP50": 0.5})

    monkeypatch.setattr(evaluation, "evaluate", measure)
    run(store)
    staging.put(store, offer(decided(0.99)))
    weights[NAME] = b"the second"
    said = staging.put(store, offer(decided(0.70, 0.72, 0.71), data="other data"))
    assert "beside the mAP50 of version 1 (confirm-0a1b2c-s1) of 0.500 on the same test data" in said
    assert seen == [(b"the first", 128, "cpu")]
    assert held(store).version == "2"


def test_a_holder_that_cannot_be_measured_stays(
    store: Store, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("other classes")

    monkeypatch.setattr(evaluation, "evaluate", refuse)
    made = run(store)
    staging.put(store, offer(decided(0.1)))
    weights[NAME] = b"the second"
    said = staging.put(store, offer(decided(0.70, 0.72, 0.71), data="other data"))
    assert "stays: it cannot be measured on this data (RuntimeError)." in said
    version = store.client.create_model_version(registry.MODEL, "file:///elsewhere", made.info.run_id)
    store.client.set_registered_model_alias(registry.MODEL, registry.ALIAS, version.version)
    said = staging.put(store, offer(decided(0.70, 0.72, 0.71)))
    assert "version 2 (of unknown origin) stays: person-detector version 2 has no tag `weights`" in said


def test_without_a_run_or_a_decision_nothing_is_registered(store: Store) -> None:
    assert "has no run in MLflow or no weights" in staging.put(store, offer(decided(0.7)))
    nothing = Decision({}, None, None, None, None, None)
    assert staging.put(store, offer(nothing)) == "nothing was confirmed, so nothing is offered."
    assert registry.staged(store) is None
