"""Which model gets the alias staging. MLflow and its registry are real; the weights are any bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from stages.base.failures import Failure
from stages.decision import staging
from stages.decision.confirmation import Confirmation, Repeat, Setting, Splits
from stages.decision.verdict import Decision, decide
from stages.detector import evaluation, export
from stages.detector.as_is import AsIs
from stages.experiments import refs
from stages.tracking import logged_model, missed, registry
from stages.tracking import store as tracking_store
from stages.tracking.store import Store
from tests.helpers.predictions import by_hand

NAME = "confirm-0a1b2c-s1"
THRESHOLD = 0.41
BOX, FAR = (0.0, 0.0, 9.0, 9.0), (50.0, 0.0, 59.0, 9.0)
IMAGES = [by_hand([(0, *BOX)], [(0.7, 0, *BOX), (0.4, 0, *FAR)])]  # the best F1 is between 0.7 and 0.4


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database. Making one takes seconds, so each test copies it."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", path.parent.as_uri()).engine.dispose()
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    for module in (tracking_store, registry, logged_model, missed):
        monkeypatch.setattr(module, "HOME", tmp_path / "home")
    monkeypatch.setattr(tracking_store, "main_root", lambda: tmp_path)
    monkeypatch.setattr(staging, "DATA", tmp_path / "data" / "prepared")
    return Store(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The weights of the proposed model in DVC's cache, by run; with other weights it is another model."""
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
    return decide(confirmation_of(*tested))


def confirmation_of(*tested: float) -> Confirmation:
    repeats = [
        Repeat(
            "best",
            NAME if not place else f"confirm-0a1b2c-s{place + 1}",
            place + 1,
            0.9 - place / 100,
            value,
            9.0,
            8.0,
            THRESHOLD,
        )
        for place, value in enumerate(tested)
    ]
    return Confirmation([Setting("best", "a-run", {"imgsz": 128}, 0.8, 9.0)], repeats, {})


def candidate(decision: Decision, data: str = "this data") -> staging.Candidate:
    return staging.Candidate(decision, "a commit", data, 128, "cpu")


def staged(store: Store) -> registry.Staged:
    version = registry.staged(store)
    assert version is not None
    return version


def test_the_pretrained_model_is_registered_as_it_is_with_a_run_of_its_own(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def measure(model: Path, data: Path, work: Path, imgsz: int, device: str, split: str) -> SimpleNamespace:
        seen.append((model.read_bytes(), imgsz, device, split))
        return SimpleNamespace(images=IMAGES)

    monkeypatch.setattr(evaluation, "evaluate", measure)
    weights = tmp_path / "derived.pt"
    weights.write_bytes(b"as it is")
    digest = hashlib.sha256(b"as it is").hexdigest()
    as_is = AsIs("yolov8n.pt", {"person": "Normal"}, weights, digest, 320, ("person",), 0.55, 0.6, 9.0)
    done = Confirmation(
        [Setting("best", "a-run", {"imgsz": 128}, 0.8, 9.0)], [Repeat("best", NAME, 1, 0.6, 0.61, 9.0, 8.0)], {}
    )
    pretrained = staging.Candidate(decide(done, as_is), "a commit", "this data", 320, "cpu", as_is)
    message = staging.promote(store, pretrained)
    assert message == (
        f"version 1 of person-detector ({as_is.name}) now has the alias `staging`: no version had this alias before."
    )
    version = staged(store)
    assert (version.tags["run"], version.tags["test_mAP50"], version.tags["imgsz"]) == (as_is.name, "0.6", "320")
    assert "dvc.experiment" not in version.tags
    assert seen == [(b"as it is", 320, "cpu", "val")], "its operating point is chosen on the validation split"
    assert version.tags["threshold"] == "0.55"
    assert version.tags["weights"] == hashlib.md5(b"as it is").hexdigest()
    made = store.find(as_is.name)
    assert made is not None
    assert version.run_id == made.info.run_id
    assert made.data.params == {"model": "yolov8n.pt", "head": "{person: Normal}", "imgsz": "320", "epochs": "0"}
    assert (made.data.metrics["val/mAP50"], made.data.metrics["test/mAP50"]) == (0.55, 0.6)
    assert "is already this model" in staging.promote(store, pretrained)
    assert len(store.client.search_runs([store.experiment])) == 1


def test_over_splits_the_staged_model_is_measured_on_each_split(
    store: Store, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(store)
    staging.promote(store, candidate(decided(0.70, 0.72, 0.71)))
    folders = {seed: tmp_path / f"split-{seed}" for seed in (1, 2, 3)}
    tested = {"split-1": 0.70, "split-2": 0.40, "split-3": 0.55}

    def measure(model: Path, data: Path, work: Path, imgsz: int, device: str) -> SimpleNamespace:
        assert model.read_bytes() == b"the first"
        return SimpleNamespace(metrics={"mAP50": tested[data.name]})

    monkeypatch.setattr(evaluation, "evaluate", measure)
    weights[NAME] = b"the second"
    better = decided(0.80, 0.51, 0.65)  # on each split about 0.1 better, though the splits differ by more
    over_splits = decide(replace(confirmation_of(0.80, 0.51, 0.65), splits=Splits(folders, overlap=0.25)))
    assert "stays: it has mAP50 0.700" in staging.promote(store, candidate(better))
    message = staging.promote(store, candidate(over_splits))
    assert "version 2 of person-detector" in message
    assert "better by 0.103" in message
    assert "3 splits" in message


def test_the_first_model_gets_the_alias_and_the_same_model_again_changes_nothing(store: Store) -> None:
    made = run(store)
    described = replace(candidate(decided(0.70, 0.72, 0.71)), description="# Its card")
    message = staging.promote(store, described)
    assert message == (
        f"version 1 of person-detector ({NAME}) now has the alias `staging`: no version had this alias before."
    )
    version = staged(store)
    assert version.run_id == made.info.run_id
    assert version.tags["weights"] == hashlib.md5(b"the first").hexdigest()
    assert (version.tags["test_mAP50"], version.tags["data.digest"], version.tags["imgsz"]) == (
        "0.7",
        "this data",
        "128",
    )
    assert version.tags["threshold"] == f"{THRESHOLD}"
    assert store.client.get_model_version(logged_model.MODEL, "1").description == "# Its card"
    assert "is already this model" in staging.promote(store, candidate(decided(0.70, 0.72, 0.71)))
    assert staged(store).version == "1"


def files_of(store: Store, tmp_path: Path) -> dict[str, bytes]:
    """Return the exported files of the version in staging."""
    version = staged(store)
    files = store.client.get_model_version_download_uri(logged_model.MODEL, version.version)
    folder = Path(download_artifacts(files, dst_path=str(tmp_path / "fetched"))) / "exported"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def test_the_registered_weights_are_exported_with_their_own_threshold(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be other weights than those of the workspace, whose export is in models/."""
    seen: list[Any] = []

    def write(
        weights: Path, data: Path, formats: Sequence[str], imgsz: int, threshold: float, folder: Path, name: str
    ) -> None:
        seen.append((weights.read_bytes(), formats, imgsz, threshold, name))
        (folder / "best.onnx").write_bytes(b"a network")

    monkeypatch.setattr(export, "export", write)
    run(store)
    message = staging.promote(store, replace(candidate(decided(0.70)), formats=("onnx",)))
    assert message.endswith("no version had this alias before.")
    assert seen == [(b"the first", ("onnx",), 128, THRESHOLD, NAME)]
    files = files_of(store, tmp_path)
    assert set(files) == {"best.onnx", "README.md"}
    assert files["best.onnx"] == b"a network"


def test_a_model_whose_export_fails_is_registered_without_and_the_report_says_why(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Failure("the export to onnx failed")

    monkeypatch.setattr(export, "export", fail)
    run(store)
    message = staging.promote(store, replace(candidate(decided(0.70)), formats=("onnx",)))
    assert message.endswith("before. It has no exported files: the export to onnx failed.")
    assert files_of(store, tmp_path) == {}


def test_another_operating_point_of_the_same_model_is_another_version(store: Store) -> None:
    run(store)
    staging.promote(store, candidate(decided(0.70)))
    changed = decided(0.70)
    assert changed.model is not None
    message = staging.promote(store, candidate(replace(changed, model=replace(changed.model, threshold=0.6))))
    assert message == (
        f"version 2 of person-detector ({NAME}) now has the alias `staging`: version 1 has the same weights with the "
        "threshold 0.41 instead of 0.6."
    )
    version = staged(store)
    assert (version.tags["threshold"], version.tags["previous"]) == ("0.6", "1")
    assert staging.promote(store, candidate(decided(0.70))).startswith("version 1 of person-detector"), "it exists"


@pytest.mark.parametrize(
    ("tested", "version", "reason"),
    [
        ((0.80, 0.81, 0.79), "2", "better by 0.100"),
        ((0.80, 0.60, 0.72), "1", "not distinguishable (+0.007"),
        ((0.60, 0.61, 0.59), "1", "worse by 0.100"),
        ((0.69, 0.81, 0.82, 0.83, 0.82, 0.81), "1", "but the model confirm-0a1b2c-s1 itself has only 0.690"),
        ((0.9,), "1", "one seed gives no interval"),
    ],
)
def test_another_model_gets_the_alias_only_if_it_is_better(
    store: Store, weights: dict[str, bytes], tested: tuple[float, ...], version: str, reason: str
) -> None:
    run(store)
    staging.promote(store, candidate(decided(0.70)))
    weights[NAME] = b"the second"
    message = staging.promote(store, candidate(decided(*tested)))
    assert reason in message
    assert ("stays" in message) == (version == "1")
    assert staged(store).version == version


def test_on_other_data_the_staged_model_is_measured_again(
    store: Store, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def measure(model: Path, data: Path, work: Path, imgsz: int, device: str) -> SimpleNamespace:
        seen.append((model.read_bytes(), imgsz, device))
        return SimpleNamespace(metrics={"mAP50": 0.5})

    monkeypatch.setattr(evaluation, "evaluate", measure)
    run(store)
    staging.promote(store, candidate(decided(0.99)))
    weights[NAME] = b"the second"
    message = staging.promote(store, candidate(decided(0.70, 0.72, 0.71), data="other data"))
    assert "version 1 (confirm-0a1b2c-s1) has mAP50 0.500 on the same test split" in message
    assert seen == [(b"the first", 128, "cpu")]
    assert staged(store).version == "2"


def test_a_staged_model_that_cannot_be_measured_stays(
    store: Store, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("other classes")

    monkeypatch.setattr(evaluation, "evaluate", refuse)
    made = run(store)
    staging.promote(store, candidate(decided(0.1)))
    weights[NAME] = b"the second"
    message = staging.promote(store, candidate(decided(0.70, 0.72, 0.71), data="other data"))
    assert "stays: it cannot be measured on this data (RuntimeError)." in message
    version = store.client.create_model_version(logged_model.MODEL, "file:///elsewhere", made.info.run_id)
    store.client.set_registered_model_alias(logged_model.MODEL, registry.ALIAS, version.version)
    message = staging.promote(store, candidate(decided(0.70, 0.72, 0.71)))
    assert "version 2 (of unknown origin) stays: person-detector version 2 has no tag `weights`" in message


def test_without_a_run_or_a_decision_nothing_is_registered(store: Store) -> None:
    assert "has no run in MLflow or no whole weights" in staging.promote(store, candidate(decided(0.7)))
    nothing = Decision({}, None, None, None, None, None)
    assert staging.promote(store, candidate(nothing)) == "no setting was confirmed, so no model is proposed."
    decided_without_model = replace(decided(0.7), model=None)
    assert "the repeat with the split of the search is missing" in staging.promote(
        store, candidate(decided_without_model)
    )
    assert registry.staged(store) is None
