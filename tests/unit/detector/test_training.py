"""train(): a function of its parameters, its data and its seed only."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages.detector import training
from stages.detector.training import Epoch, Trained, TrainingFailed, train
from stages.detector.ultralytics import HOME, SETTINGS, YOLO, torch
from stages.params import file as params_file
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import SOURCE

VALUES = params_file.read(SOURCE / "params.yaml")


def arguments(**changes: Any) -> dict[str, Any]:
    small = {"epochs": 2, "imgsz": 64, "device": "cpu"}
    return params_file.validate({**VALUES, **small, **changes}).training()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Epoch]]:
    epochs: list[Epoch] = []
    return train(arguments(), data, tmp_path_factory.mktemp("trained"), [epochs.append]), epochs


def test_listeners_get_each_epoch_once_and_not_the_closing_validation(trained: tuple[Trained, list[Epoch]]) -> None:
    result, epochs = trained
    assert [(epoch.number, epoch.of) for epoch in epochs] == [(1, 2), (2, 2)]
    assert {"mAP50", "mAP50-95", "precision", "recall", "train/box_loss", "val/cls_loss"} <= epochs[0].metrics.keys()
    assert set(result.metrics) == {"mAP50", "mAP50-95", "precision", "recall"}
    assert result.train_seconds > 0


def test_the_metrics_are_those_of_the_file(trained: tuple[Trained, list[Epoch]], data: Path, tmp_path: Path) -> None:
    result, _ = trained
    again = YOLO(str(result.model)).val(
        data=str(data / "data.yaml"), imgsz=64, batch=8, device="cpu", plots=False, project=str(tmp_path), verbose=False
    )
    assert again.box.map50 == pytest.approx(result.metrics["mAP50"], abs=0.01)


def test_the_same_call_gives_the_same_bytes_whatever_came_before(
    trained: tuple[Trained, list[Epoch]], data: Path, tmp_path: Path
) -> None:
    result, _ = trained
    other = train(arguments(seed=1), data, tmp_path / "other")
    again = train(arguments(), data, tmp_path / "again")
    assert digest(again.model) == digest(result.model)
    assert again.metrics == result.metrics
    assert digest(other.model) != digest(result.model)


def test_another_process_in_another_folder_gives_the_same_bytes(
    trained: tuple[Trained, list[Epoch]], data: Path, tmp_path: Path
) -> None:
    result, _ = trained
    code = "from pathlib import Path; from stages.detector.training import train;"
    code += f"train({arguments()!r}, Path({str(data)!r}), Path('x'))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert digest(tmp_path / "x" / "best.pt") == digest(result.model)


def test_the_weights_name_no_place_and_no_date(trained: tuple[Trained, list[Epoch]], data: Path) -> None:
    content = torch.load(trained[0].model, map_location="cpu", weights_only=False)
    assert content["train_args"]["imgsz"] == 64
    assert content["train_args"]["model"] == "yolov8n.yaml"
    assert "date" not in content
    for place in (str(data), str(trained[0].model.parent), str(SOURCE)):
        assert place not in str(content["train_args"])


def test_only_the_weights_remain(trained: tuple[Trained, list[Epoch]], data: Path) -> None:
    assert [path.name for path in trained[0].model.parent.iterdir()] == ["best.pt"]
    assert not list(data.rglob("*.cache")), "DVC would see other data"


def test_an_exception_of_a_listener_ends_the_training(data: Path, tmp_path: Path) -> None:
    class Pruned(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        raise Pruned(epoch.number)

    with pytest.raises(Pruned, match="1"):
        train(arguments(epochs=5), data, tmp_path, [stop])
    assert list(tmp_path.iterdir()) == []


def test_any_argument_of_ultralytics_is_passed_on(data: Path, tmp_path: Path) -> None:
    result = train(arguments(epochs=1, degrees=12.5), data, tmp_path)
    assert torch.load(result.model, weights_only=False)["train_args"]["degrees"] == 12.5


def test_a_silently_halved_batch_is_a_failure(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics halves the batch where memory runs out in the first epoch, and says nothing in the results."""
    forward = training.Trainer.preprocess_batch
    calls = []

    def once_out_of_memory(trainer: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return forward(trainer, batch)

    monkeypatch.setattr(training.Trainer, "preprocess_batch", once_out_of_memory)
    with pytest.raises(TrainingFailed, match="out of memory at batch 4, and Ultralytics continued with 2"):
        train(arguments(), data, tmp_path)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ...",
    ],
)
def test_out_of_memory_later_is_a_failure(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def out_of_memory(trainer: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(training.Trainer, "optimizer_step", out_of_memory)
    with pytest.raises(TrainingFailed, match=re.escape(f"training failed: {message}")) as caught:
        train(arguments(), data, tmp_path)
    assert caught.value.kind == "out of memory"


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loss_that_is_no_number_is_a_failure(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """Ultralytics would go on in the first epoch, and repeat later ones from the last checkpoint."""
    validate = training.Trainer.validate

    def spoil(trainer: Any) -> Any:
        if trainer.epoch == epoch:
            trainer.loss = trainer.loss * float("nan")
        return validate(trainer)

    monkeypatch.setattr(training.Trainer, "validate", spoil)
    with pytest.raises(TrainingFailed, match=rf"loss is not a number after epoch {epoch + 1}: lower lr0"):
        train(arguments(), data, tmp_path)


def test_processes_send_their_states_through_a_file(data: Path, tmp_path: Path) -> None:
    """Several GPUs: Ultralytics' own launcher, here with one process on the CPU."""
    states: list[dict[str, Any]] = []
    trainer = several(data, tmp_path)
    training.train_in_processes(trainer, lambda state: states.append(dict(state)), tmp_path / "epochs.jsonl")
    assert [(state["epoch"], state["closing"]) for state in states] == [(1, False), (2, False), (3, True)]
    assert "metrics/mAP50(B)" in states[0]["metrics"]
    assert (tmp_path / "run" / "weights" / "best.pt").is_file()
    assert not list((HOME / "Ultralytics" / "DDP").iterdir())


def test_processes_are_ended_when_a_listener_ends_the_training(data: Path, tmp_path: Path) -> None:
    def stop(state: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train_in_processes(several(data, tmp_path, epochs=500), stop, tmp_path / "epochs.jsonl")
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "DDP" in " ".join(child.cmdline())]


def test_a_process_that_fails_is_a_failure(data: Path, tmp_path: Path) -> None:
    trainer = several(data, tmp_path)
    trainer.args.data = str(tmp_path / "nowhere.yaml")
    with pytest.raises(TrainingFailed, match="a process of the training ended with status"):
        training.train_in_processes(trainer, lambda state: None, tmp_path / "epochs.jsonl")


def test_only_the_first_process_writes_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics calls back in every process, and the others have no metrics."""
    monkeypatch.setattr(training, "RANK", 1)
    training._append_state(tmp_path / "epochs.jsonl", None)  # type: ignore[arg-type]
    assert not (tmp_path / "epochs.jsonl").exists()


def test_a_refusal_of_ultralytics_is_a_failure_and_an_error_of_a_listener_is_not(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="Invalid CUDA"):
        train(arguments(device="7"), data, tmp_path)

    def wrong(epoch: Epoch) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        train(arguments(), data, tmp_path, [wrong])


def several(data: Path, out: Path, epochs: int = 2) -> training.Trainer:
    """Return a trainer that trains in other processes; on a CPU it uses one, as if there were one GPU."""
    places = {"data": str(data / "data.yaml"), "project": str(out), "name": "run", "exist_ok": True, "plots": False}
    rest = {key: value for key, value in arguments(epochs=epochs).items() if key != "head"}
    trainer = training.Trainer(overrides={**rest, **places})
    trainer.ddp, trainer.world_size = True, 1
    return trainer


def test_settings_are_kept_in_the_repository_and_integrations_are_off() -> None:
    assert Path(SETTINGS.file).is_relative_to(SOURCE / ".yolo")
    assert [key for key in ("sync", "mlflow", "dvc", "clearml", "comet", "raytune") if SETTINGS[key]] == []


def test_nothing_is_fetched_and_nothing_is_sent(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def refuse(_: object, address: object) -> None:
        opened.append(address)
        raise OSError("no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    train(arguments(epochs=1), data, tmp_path)
    assert opened == [], "Ultralytics itself swallows the error"


def test_importing_ultralytics_first_is_refused() -> None:
    """Its settings would be the user's own."""
    code = "import ultralytics\ntry:\n    import stages.detector.ultralytics\n"
    code += "except ImportError as error:\n    print(error)"
    environment = {key: value for key, value in os.environ.items() if key != "YOLO_CONFIG_DIR"}
    environment |= {"PYTHONPATH": str(SOURCE), "YOLO_OFFLINE": "true", "XDG_CONFIG_HOME": str(HOME / "test")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "import stages.detector.ultralytics before ultralytics" in done.stdout
