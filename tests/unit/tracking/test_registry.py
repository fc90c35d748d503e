"""The registered model: a version and an alias that are never incomplete, and a detector that loads on any machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.__main__ import main
from stages.base import failures
from stages.base.failures import Failure
from stages.detector.formats import write_readme
from stages.detector.ultralytics import YOLO
from stages.tracking import logged_model, missed, registry, store
from stages.tracking.logged_model import MODEL, Proposal
from stages.tracking.record import DIGEST_TAG, Record
from stages.tracking.registry import ALIAS, register, staged, undo, weights_of
from stages.tracking.store import Store

# isort: split
import mlflow
from mlflow.exceptions import MlflowException

from tests.helpers.mlflow_server import (
    NOWHERE,
    server,  # noqa: F401 - a fixture
)
from tests.helpers.networks import save_untrained

IMGSZ = 64
COLUMNS = ["label", "confidence", "x1", "y1", "x2", "y2"]
NUMBERS = COLUMNS[1:]
THRESHOLD = 0.3
SURE = 0.01  # the lowest confidence of the compared boxes: less confident ones depend on rounding

# The code of a user who has the packages and MLflow's address, but not this repository.
ELSEWHERE = """
import json, sys
import numpy as np
import mlflow
model = mlflow.pyfunc.load_model("models:/person-detector@staging")
table = model.predict(np.load(sys.argv[1]), params={"confidence": float(sys.argv[2])})
assert not [name for name in sys.modules if name.partition(".")[0] == "stages"]
print(json.dumps({"columns": list(table.columns), "rows": table.to_numpy().tolist()}))
"""


@pytest.fixture(scope="module")
def shelter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Replace the main repository by a folder for the files of MLflow and of its locks."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "main_root", lambda: folder)
        for module in (store, missed, registry, logged_model):
            patch.setattr(module, "HOME", folder / "home")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield folder


@pytest.fixture(scope="module")
def empty(empty_mlflow: Path, shelter: Path) -> Path:
    """Return a database with the project's experiment and without runs."""
    shutil.copyfile(empty_mlflow, shelter / "empty.db")
    Store(f"sqlite:///{shelter}/empty.db")
    return shelter / "empty.db"


@pytest.fixture
def target(empty: Path, tmp_path: Path) -> Store:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path}/mlflow.db")


def new_run(target: Store) -> str:
    return str(target.client.create_run(target.experiment).info.run_id)


def proposal(run: str, weights: Path, threshold: float = THRESHOLD, **more: Any) -> Proposal:
    return Proposal(run, weights, IMGSZ, threshold, **{"tags": {}, **more})


def files_of(target: Store, version: str = "1") -> str:
    """Return the address of the files of a version."""
    return str(target.client.get_model_version_download_uri(MODEL, version))


@pytest.fixture
def add(target: Store, tmp_path: Path) -> Callable[..., str]:
    """Return a function that registers a model: `add(content)`. The content matters only when the model is loaded."""

    def work(content: bytes, threshold: float = THRESHOLD, **tags: str) -> str:
        path = tmp_path / "some-weights"
        path.write_bytes(content)
        return register(target, proposal(new_run(target), path, threshold, tags=tags))

    return work


def versions(target: Store) -> list[str]:
    return sorted(str(version.version) for version in target.client.search_model_versions(f"name = '{MODEL}'"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained network whose boxes depend on the picture."""
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    save_untrained(path, IMGSZ)
    return path


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """Return an image that is not square, and that differs if red and blue are exchanged."""
    noise = np.random.default_rng(0).uniform(0, 256, (96, 128, 3))
    return (noise * (1.0, 0.8, 0.5)).astype(np.uint8)


@dataclass(frozen=True)
class Registered:
    """A model in a store, and the same model loaded in this process."""

    target: Store
    weights: Path
    loaded: Any


@pytest.fixture(scope="module")
def model(empty: Path, weights: Path) -> Registered:
    shutil.copyfile(empty, empty.with_name("model.db"))
    target = Store(f"sqlite:///{empty.with_name('model.db')}")
    register(target, proposal(new_run(target), weights))
    return Registered(target, weights, mlflow.pyfunc.load_model(files_of(target)))


def expected(weights: Path, bgr: NDArray[np.uint8], confidence: float) -> list[tuple[Any, ...]]:
    """Return the boxes that YOLO itself finds."""
    prediction = YOLO(weights).predict(np.ascontiguousarray(bgr), imgsz=IMGSZ, conf=confidence, verbose=False)[0]
    boxes = prediction.boxes.cpu()
    labels = [prediction.names[int(number)] for number in boxes.cls]
    return list(zip(labels, boxes.conf.tolist(), *boxes.xyxy.T.tolist(), strict=True))


def same(rows: Any, boxes: list[tuple[Any, ...]]) -> bool:
    return [row[0] for row in rows] == [row[0] for row in boxes] and np.allclose(
        [row[1:] for row in rows], [row[1:] for row in boxes], atol=1e-3
    )


def test_the_model_loads_without_this_repository_and_finds_what_yolo_finds(
    target: Store, weights: Path, picture: NDArray[np.uint8], tmp_path: Path
) -> None:
    """It also leaves no file in the home folder, in the working directory or in the temporary folder."""
    register(target, proposal(new_run(target), weights))
    np.save(tmp_path / "picture.npy", picture)
    folders = [tmp_path / name for name in ("home", "work", "temporary")]
    for folder in folders:
        folder.mkdir()
    home, work, temporary = folders
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "YOLO_", "MPL", "XDG_"))}
    folders_of_user = {"HOME": str(home), "TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch")}
    address = {"MLFLOW_TRACKING_URI": str(target.client.tracking_uri), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "picture.npy", str(SURE)],
        cwd=work,
        env={**kept, **folders_of_user, **address},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["columns"] == COLUMNS
    assert len(answer["rows"]) > 3
    assert same(answer["rows"], expected(weights, picture[..., ::-1], SURE))
    assert [path for folder in folders for path in folder.rglob("*")] == []


@pytest.mark.slow
def test_a_server_stores_the_model_and_returns_it(
    shelter: Path,
    server: str,  # noqa: F811 - the fixture
    weights: Path,
    picture: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    target = Store(server)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    assert staged(target) is None
    assert register(target, proposal(new_run(target), weights, tags={"mAP50": "0.7"})) == "1"
    assert register(target, proposal(new_run(target), other)) == "2"
    assert register(target, proposal(new_run(target), other)) == "2"
    assert undo(target) == "staging of person-detector is at version 1 again, not at version 2"
    held = staged(target)
    assert held is not None
    assert held.tags["mAP50"] == "0.7"
    assert weights_of(target, held, tmp_path / "fetched").read_bytes() == weights.read_bytes()
    assert capfd.readouterr() == ("", "")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@{ALIAS}")
    rows = loaded.predict(picture, params={"confidence": SURE}).to_numpy()
    assert same(rows, expected(weights, picture[..., ::-1], SURE))

    undo(target)
    assert staged(target) is None
    with pytest.raises(Failure, match="there is nothing to undo"):
        undo(target)


def test_an_image_is_red_green_blue(model: Registered, picture: NDArray[np.uint8]) -> None:
    rows = model.loaded.predict(picture, params={"confidence": SURE}).to_numpy()
    assert same(rows, expected(model.weights, picture[..., ::-1], SURE))
    assert not same(rows, expected(model.weights, picture, SURE)), "the picture has no colors"


def test_boxes_are_in_pixels_of_the_image_the_most_confident_first(
    model: Registered, picture: NDArray[np.uint8]
) -> None:
    """The image is larger than the input of the network, and not square."""
    boxes = model.loaded.predict(picture, params={"confidence": SURE})
    assert list(boxes.columns) == COLUMNS
    assert all(isinstance(label, str) for label in boxes["label"])
    assert all(boxes[name].dtype == np.float64 for name in NUMBERS)
    assert boxes["confidence"].is_monotonic_decreasing
    assert boxes["confidence"].between(SURE, 1).all()
    assert (boxes["x1"] < boxes["x2"]).all()
    assert (boxes["y1"] < boxes["y2"]).all()
    assert IMGSZ < boxes["x2"].max() <= picture.shape[1]
    assert IMGSZ < boxes["y2"].max() <= picture.shape[0]


def test_without_an_object_the_table_is_empty_and_has_the_same_form(
    model: Registered, picture: NDArray[np.uint8]
) -> None:
    some = model.loaded.predict(picture, params={"confidence": SURE})
    none = model.loaded.predict(picture, params={"confidence": 1.0})
    assert len(none) == 0 < len(some)
    assert dict(none.dtypes) == dict(some.dtypes)


def test_confidence_and_iou_are_optional_and_the_operating_point_is_the_default(
    model: Registered, picture: NDArray[np.uint8]
) -> None:
    many = model.loaded.predict(picture, params={"confidence": SURE})
    few = model.loaded.predict(picture, params={"confidence": SURE, "iou": 0.1})
    assert 0 < len(few) < len(many)
    default = model.loaded.predict(picture)
    assert len(default) == (many["confidence"] > THRESHOLD).sum() > 0
    with pytest.raises(ValueError, match=r"'conf=1.5' is an invalid value"):
        model.loaded.predict(picture, params={"confidence": 1.5})


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((48, 64, 3)), r"float64 of shape \(48, 64, 3\)"),
        (np.zeros((48, 64), np.uint8), r"uint8 of shape \(48, 64\)"),
        (np.zeros((2, 48, 64, 3), np.uint8), r"uint8 of shape \(2, 48, 64, 3\)"),
        (np.zeros((48, 64, 4), np.uint8), r"uint8 of shape \(48, 64, 4\)"),
        (np.zeros((0, 64, 3), np.uint8), r"uint8 of shape \(0, 64, 3\)"),
        ("photo.jpg", "str"),
    ],
)
def test_another_input_is_refused_with_its_type_and_the_expected_one(model: Registered, image: Any, got: str) -> None:
    expected = r"expected one uint8 array of shape \(height, width, 3\), RGB"
    with pytest.raises(ValueError, match=f"^image: got {got}, {expected}$"):
        model.loaded.unwrap_python_model().predict(None, image)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((48, 64, 3)), "dtype of input float64 does not match expected dtype uint8"),
        (np.zeros((48, 64), np.uint8), r"Shape of input \(48, 64\) does not match expected shape \(-1, -1, 3\)"),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            r"Shape of input \(2, 8, 8, 3\) does not match expected shape \(-1, -1, 3\)",
        ),
        (np.zeros((48, 64, 4), np.uint8), r"Shape of input \(48, 64, 4\) does not match expected shape \(-1, -1, 3\)"),
    ],
)
def test_mlflow_itself_refuses_another_input_by_the_signature(model: Registered, image: Any, got: str) -> None:
    with pytest.raises(MlflowException, match=rf"with schema '\[Tensor\('uint8', \(-1, -1, 3\)\)\]'\. Error: {got}"):
        model.loaded.predict(image)


def test_the_model_describes_its_input_its_output_and_its_packages(model: Registered) -> None:
    about = model.loaded.metadata
    assert about.get_params_schema().to_dict() == [
        {"name": "confidence", "type": "double", "default": THRESHOLD, "shape": None},
        {"name": "iou", "type": "double", "default": 0.7, "shape": None},
    ]
    assert about.get_output_schema().input_names() == COLUMNS
    files = files_of(model.target)
    example = about.load_input_example(files)
    assert list(model.loaded.predict(example).columns) == COLUMNS
    needed = Path(mlflow.artifacts.download_artifacts(f"{files}/requirements.txt")).read_text(encoding="utf-8")
    assert set(needed.split()) == {
        f"{package}=={version(package).partition('+')[0]}"
        for package in ("mlflow", "ultralytics", "torch", "torchvision", "opencv-python")
    }


def test_a_version_carries_the_exported_files_where_the_page_says(
    target: Store, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "best.onnx").write_bytes(b"a network")
    write_readme(exported)
    register(target, proposal(new_run(target), weights, exported=exported))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(target.client.tracking_uri))
    mlflow.artifacts.download_artifacts(f"models:/{MODEL}@{ALIAS}/exported", dst_path=str(tmp_path / "staged"))
    found = {path.name: path.read_bytes() for path in (tmp_path / "staged").rglob("*") if path.is_file()}
    assert found == {path.name: path.read_bytes() for path in exported.iterdir()}


def measured_run(target: Store) -> str:
    """Return a run with parameters, a curve, metrics of both splits and a data set."""
    points = {("mAP50", 1): 0.2, ("val/mAP50", 0): 0.6, ("test/mAP50", 0): 0.5, ("train_seconds", 0): 50.0}
    params = {"epochs": "2", "data.source": "synthetic"}
    target.write(Record("able-cat", params, points, {DIGEST_TAG: "d" * 64}, content="one"))
    run = target.find("able-cat")
    assert run is not None
    return str(run.info.run_id)


@pytest.mark.usefixtures("shelter")
@pytest.mark.parametrize("where", ["database", pytest.param("server", marks=pytest.mark.slow)])
def test_a_version_points_to_its_run_and_to_a_model_with_params_and_metrics_on_the_data(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target = Store(request.getfixturevalue("server")) if where == "server" else request.getfixturevalue("target")
    run = measured_run(target)
    (tmp_path / "weights").write_bytes(b"one")
    number = register(target, proposal(run, tmp_path / "weights"))
    version = target.client.get_model_version(MODEL, number)
    assert version.run_id == run
    model_id = version.source.removeprefix("models:/")
    (logged,) = target.client.search_logged_models([target.experiment], f"source_run_id = '{run}'")
    assert (logged.model_id, str(logged.status)) == (model_id, "READY")
    assert logged.params == {"epochs": "2"}
    assert {(metric.key, metric.value, metric.dataset_name, metric.dataset_digest) for metric in logged.metrics} == {
        ("val/mAP50", 0.6, "data/prepared", "d" * 36),
        ("test/mAP50", 0.5, "data/prepared", "d" * 36),
    }
    (named,) = json.loads(logged.tags["mlflow.modelVersions"])
    assert (named["name"], str(named["version"])) == (MODEL, number)
    source_run = target.client.get_run(run)
    assert [output.model_id for output in source_run.outputs.model_outputs] == [model_id]
    assert len(target.client.get_metric_history(run, "test/mAP50")) == 1, "the run itself has no new point"


def test_an_interrupted_model_is_completed_and_not_made_twice(
    target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured_run(target)
    (tmp_path / "weights").write_bytes(b"one")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("log_model_artifacts", "log_batch", "finalize_logged_model", "create_model_version"):
        with monkeypatch.context() as patch:
            patch.setattr(target.client, step, killed)
            with pytest.raises(KeyboardInterrupt):
                register(target, proposal(run, tmp_path / "weights"))
    assert register(target, proposal(run, tmp_path / "weights")) == "1"
    (logged,) = target.client.search_logged_models([target.experiment])
    assert str(logged.status) == "READY"
    assert sorted(metric.key for metric in logged.metrics) == ["test/mAP50", "val/mAP50"]
    assert len(target.client.get_run(run).outputs.model_outputs) == 1
    assert len(target.client.get_metric_history(run, "val/mAP50")) == 1


def test_a_version_of_an_earlier_release_has_its_weights_among_the_files_of_its_run(
    target: Store, tmp_path: Path
) -> None:
    (tmp_path / "weights.pt").write_bytes(b"old")
    run, tags = new_run(target), {"weights": hashlib.md5(b"old").hexdigest(), "threshold": "0.3"}
    folder = f"detector/{tags['weights']}/0.3"
    target.client.log_artifact(run, str(tmp_path / "weights.pt"), f"{folder}/artifacts")
    target.client.create_registered_model(MODEL)
    source = f"{target.client.get_run(run).info.artifact_uri}/{folder}"
    target.client.create_model_version(MODEL, source, run, tags=tags)
    assert register(target, proposal(run, tmp_path / "weights.pt")) == "1"
    held = staged(target)
    assert held is not None
    assert weights_of(target, held, tmp_path / "fetched").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", None),
        ("# A card\n", "# A card\n"),
        ("1234567 9\n" * 500, "1234567 9\n" * 500),
        (
            "1234567 9\n" * 501,
            "1234567 9\n" * 493 + "1234567 9\n\nThe rest is left out: MLflow keeps 5000 characters.\n",
        ),
    ],
)
def test_a_version_has_the_description_as_far_as_mlflow_keeps_it(
    target: Store, tmp_path: Path, given: str, kept: str | None
) -> None:
    (tmp_path / "weights").write_bytes(b"one")
    register(target, proposal(new_run(target), tmp_path / "weights", description=given))
    assert target.client.get_model_version(MODEL, "1").description == kept
    assert len(kept or "") <= 5000


def test_a_version_that_is_staged_again_keeps_its_description(target: Store, tmp_path: Path) -> None:
    """A colleague may have edited it."""
    run = new_run(target)
    for content, description in ((b"one", "first"), (b"two", "second"), (b"one", "third")):
        (tmp_path / "weights").write_bytes(content)
        register(target, proposal(run, tmp_path / "weights", description=description))
    assert target.client.get_model_version_by_alias(MODEL, ALIAS).description == "first"


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:5000"])
def test_registering_leaves_the_address_of_mlflow_in_the_environment(
    add: Callable[..., str], address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if address is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    add(b"one")
    assert os.environ.get("MLFLOW_TRACKING_URI") == address


def test_a_store_without_the_model_or_the_alias_has_nothing_staged(target: Store, add: Callable[..., str]) -> None:
    assert staged(target) is None
    add(b"one")
    target.client.delete_registered_model_alias(MODEL, ALIAS)
    assert staged(target) is None


def test_each_model_is_a_version_with_the_number_of_the_version_before(
    target: Store, add: Callable[..., str], tmp_path: Path
) -> None:
    assert add(b"one", mAP50="0.7") == "1"
    assert add(b"two", mAP50="0.8") == "2"
    held = staged(target)
    assert held is not None
    assert held.version == "2"
    assert held.tags == {
        "mAP50": "0.8",
        "weights": hashlib.md5(b"two").hexdigest(),
        "threshold": f"{THRESHOLD}",
        "previous": "1",
    }
    assert target.client.get_run(held.run_id).info.experiment_id == target.experiment
    assert weights_of(target, held, tmp_path / "fetched").read_bytes() == b"two"
    assert target.client.get_model_version(MODEL, "1").tags["previous"] == ""


def test_another_operating_point_is_another_version_with_files_of_its_own(
    target: Store, tmp_path: Path, weights: Path
) -> None:
    run = new_run(target)
    for threshold in (0.3, 0.6, 0.3):
        register(target, proposal(run, weights, threshold))
    assert versions(target) == ["1", "2"]
    held = staged(target)
    assert held is not None
    assert (held.version, held.tags["threshold"]) == ("1", "0.3")
    assert weights_of(target, held, tmp_path / "fetched").read_bytes() == weights.read_bytes()
    for number, threshold in (("1", 0.3), ("2", 0.6)):
        defaults = mlflow.pyfunc.load_model(files_of(target, number)).metadata.get_params_schema().to_dict()
        assert defaults[0] == {"name": "confidence", "type": "double", "default": threshold, "shape": None}


def test_undo_goes_back_one_version_at_a_time_until_none_is_left(target: Store, add: Callable[..., str]) -> None:
    for content in (b"one", b"two", b"three"):
        add(content)
    assert undo(target) == "staging of person-detector is at version 2 again, not at version 3"
    assert undo(target) == "staging of person-detector is at version 1 again, not at version 2"
    held = staged(target)
    assert held is not None
    assert held.version == "1"
    assert undo(target) == "staging of person-detector is empty: version 1 was the first in it"
    assert staged(target) is None
    with pytest.raises(Failure, match="person-detector has no version in staging"):
        undo(target)
    assert versions(target) == ["1", "2", "3"]


def test_undo_leaves_staging_where_the_version_before_was_deleted(target: Store, add: Callable[..., str]) -> None:
    add(b"one")
    add(b"two")
    target.client.delete_model_version(MODEL, "1")
    with pytest.raises(Failure, match=r"version 1, which staging was at before version 2, has been deleted"):
        undo(target)
    held = staged(target)
    assert held is not None
    assert held.version == "2"


def test_the_same_weights_are_one_version(target: Store, add: Callable[..., str]) -> None:
    assert add(b"one") == "1"
    assert add(b"one") == "1"
    assert target.client.get_model_version(MODEL, "1").tags["previous"] == "", "it has not replaced itself"
    assert add(b"two") == "2"
    assert add(b"one") == "1", "staging is moved to what was registered last"
    held = staged(target)
    assert held is not None
    assert (held.version, held.tags["previous"]) == ("1", "2")
    assert versions(target) == ["1", "2"]


def test_weights_registered_again_after_an_undo_are_staged_again(target: Store, add: Callable[..., str]) -> None:
    add(b"one")
    add(b"two")
    undo(target)
    assert add(b"two") == "2"
    undo(target)
    held = staged(target)
    assert held is not None
    assert held.version == "1"


def test_two_models_of_one_run_do_not_share_files(target: Store, tmp_path: Path) -> None:
    """A repeated training may be the same run, with other bytes."""
    run = new_run(target)
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    register(target, proposal(run, path))
    first = staged(target)
    path.write_bytes(b"two")
    register(target, proposal(run, path))
    assert first is not None
    assert weights_of(target, first, tmp_path / "fetched").read_bytes() == b"one"


STEPS = (
    "create_logged_model",
    "log_model_artifacts",
    "log_outputs",
    "create_model_version",
    "set_registered_model_alias",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_leaves_staging_unchanged_and_the_same_call_completes_the_work(
    target: Store, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    add(b"one")
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(target.client, step, killed)
        with pytest.raises(KeyboardInterrupt):
            add(b"two")
    held = staged(target)
    assert held is not None
    assert held.version == "1"
    assert add(b"two") == "2"
    assert versions(target) == ["1", "2"]
    held = staged(target)
    assert held is not None
    assert (held.version, held.tags["previous"]) == ("2", "1")
    assert weights_of(target, held, tmp_path / "fetched").read_bytes() == b"two"


def test_no_version_is_created_before_its_files_are_stored(
    target: Store, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target.client, "log_model_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        add(b"one")
    assert versions(target) == []
    assert staged(target) is None


def test_a_version_that_this_project_has_not_registered_has_no_weights_to_fetch(target: Store, tmp_path: Path) -> None:
    target.client.create_registered_model(MODEL)
    target.client.create_model_version(MODEL, f"file://{tmp_path}")
    target.client.set_registered_model_alias(MODEL, ALIAS, "1")
    held = staged(target)
    assert held is not None
    with pytest.raises(Failure, match="person-detector version 1 has no tag `weights`"):
        weights_of(target, held, tmp_path / "fetched")


def test_registering_is_silent_and_leaves_the_settings_of_mlflow_unchanged(
    add: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning):
            warnings.simplefilter("error", kind)
        add(b"one")
    assert capfd.readouterr() == ("", "")
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()) == before


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Return the status and the output of `python -m stages registry WORDS`."""
    monkeypatch.setattr(sys, "argv", ["stages", "registry", *words])
    status = 0
    try:
        failures.run(main)
    except SystemExit as ended:
        status = int(ended.code or 0)
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_the_command_prints_the_version_in_staging_and_undoes(
    target: Store, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(target.client.tracking_uri))
    assert command(monkeypatch, capsys) == (0, "staging of person-detector is empty\n")
    add(b"one", mAP50="0.7")
    held = staged(target)
    assert held is not None
    status, shown = command(monkeypatch, capsys)
    assert status == 0
    assert shown.splitlines() == [
        f"staging of person-detector is at version 1, of run {held.run_id}",
        "    mAP50: 0.7",
        "    previous: ",
        f"    threshold: {THRESHOLD}",
        f"    weights: {hashlib.md5(b'one').hexdigest()}",
    ]
    assert command(monkeypatch, capsys, "undo") == (
        0,
        "staging of person-detector is empty: version 1 was the first in it\n",
    )
    status, shown = command(monkeypatch, capsys, "undo")
    assert (status, shown) == (1, "error: person-detector has no version in staging: there is nothing to undo\n")


def test_wrong_arguments_are_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("redo",), ("undo", "twice")):
        status, shown = command(monkeypatch, capsys, *words)
        assert status == 2
        assert shown.startswith("error: ")
        assert f"'{words[-1]}'" in shown or f"({words[-1]})" in shown
        assert "python -m stages registry --help" in shown
        assert shown.count("\n") == 1


@pytest.mark.usefixtures("shelter")
def test_an_absent_server_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE.replace("//", "//ann:secret@"))
    status, shown = command(monkeypatch, capsys, "undo")
    assert status == 1
    assert shown.startswith("error: MLflow at http://***@127.0.0.1:1 cannot be used")
    assert shown.count("\n") == 1
    assert "secret" not in shown
