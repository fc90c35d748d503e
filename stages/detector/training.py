"""Train one model: a function of its parameters, its data and its seed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.detector.head import class_names, start_from
from stages.detector.ultralytics import (
    RANK,
    DetectionTrainer,
    checkpoint_bytes,
    ddp_cleanup,
    generate_ddp_command,
    torch,
)

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # of a GPU; of a CPU on Linux, on Windows

METRICS = {
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
}
"""Ultralytics' names of the metrics, and this project's names."""


@dataclass(frozen=True)
class Epoch:
    """The results of an epoch.

    Attributes:
        number: The number of the epoch, from 1.
        of: The number of epochs of the training.
        metrics: mAP50, mAP50-95, precision and recall on the validation split (0 to 1), and the losses of training and
            validation as `train/box_loss`, `val/box_loss` and so on.
    """

    number: int
    of: int
    metrics: dict[str, float]


Listener = Callable[[Epoch], None]
"""A function that `train` calls at the end of each epoch, in its own thread. An exception from it ends the training."""


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        model: The weights of the epoch with the best mAP50-95 on the validation split, as Ultralytics chooses it.
        metrics: mAP50, mAP50-95, precision and recall of that file on the validation split, 0 to 1.
        train_seconds: The wall time, from the call to the weights.
    """

    model: Path
    metrics: dict[str, float]
    train_seconds: float


class TrainingFailed(Failure):
    """The training could not follow its parameters.

    Attributes:
        kind: `out of memory`, `not a number`, or `refused` for anything else.
    """

    def __init__(self, text: str, kind: str = "refused") -> None:
        super().__init__(text)
        self.kind = kind


def train(params: Mapping[str, Any], data: Path, out: Path, listeners: Sequence[Listener] = ()) -> Trained:
    """Train one detector. Calls in one process do not affect each other.

    The same parameters and data on the same machine give the same bytes of weights. Ultralytics' own integrations are
    off. With YOLO_VERBOSE=true in the environment it prints its usual output. On a CPU it downloads nothing. On a GPU
    it tests mixed precision with yolo26n.pt, which it downloads once to `.yolo/` if there is a network; `amp: false` in
    the parameters avoids that.

    Args:
        params: The training arguments, by Ultralytics' names; `model` and `batch` are required. `head` is an argument
            of this project: the class rows of pretrained weights to keep (`keep` by default; see
            `stages.detector.head`).
        data: A prepared data set: a folder with data.yaml.
        out: A folder for best.pt. All other files that the training writes there are removed.
        listeners: Functions to call at the end of each epoch.

    Returns:
        The weights, at `out`/best.pt, and their metrics.

    Raises:
        TrainingFailed: Memory ran out (also if Ultralytics has continued with half the batch), a loss is not a number,
            or Ultralytics refuses the arguments, the model or the data.
        Failure: The model does not exist or cannot be downloaded, or `head` does not fit it.
    """
    begun = time.monotonic()
    for old in out.glob("work-*"):  # of a killed training
        shutil.rmtree(old, ignore_errors=True)
    start = start_from(params["model"], params.get("head", "keep"), class_names(data), params.get("seed", 0))
    out.mkdir(parents=True, exist_ok=True)
    # If the launcher of several GPUs is killed, its processes live on for a moment. They must not write here.
    work = Path(tempfile.mkdtemp(prefix="work-", dir=out)).resolve()
    arguments = {
        **{key: value for key, value in params.items() if key != "head"},
        **({} if start.remap else {"cls_remap": False}),
        "model": start.model,
        "data": str((data / "data.yaml").resolve()),
        "project": str(work),
        "name": "run",
        "exist_ok": True,
        "plots": False,
    }
    monitor = _Monitor(params["batch"], listeners)
    try:
        trainer = Trainer(overrides=arguments)
        if trainer.ddp:
            train_in_processes(trainer, monitor, work / "epochs.jsonl")
        else:
            trainer.add_callback("on_fit_epoch_end", lambda trainer: monitor(_state(trainer)))
            trainer.train()
        model = out / "best.pt"
        write_atomic(model, _final_weights(work / "run" / "weights" / "best.pt", params["model"]))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # Ultralytics and torch raise these
        if error is monitor.raised:
            raise
        kind = "out of memory" if any(words in str(error) for words in NO_MEMORY) else "refused"
        raise TrainingFailed(f"training failed: {error}", kind) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Trained(model, monitor.closing_metrics, time.monotonic() - begun)


class Trainer(DetectionTrainer):
    """Ultralytics' trainer, which here marks its closing validation and does not hide a loss that is not a number.

    It overrides two methods of Ultralytics 8.4.

    Attributes:
        closing: Whether the training is at its closing validation.
    """

    closing = False

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Raise TrainingFailed. Ultralytics would repeat the epoch from the last checkpoint, up to three times."""
        has_bad_loss = self.loss is not None and not self.loss.isfinite().all()
        if has_bad_loss or (self.fitness is not None and not math.isfinite(self.fitness)):
            raise TrainingFailed(f"the loss is not a number after epoch {epoch + 1}: lower lr0", "not a number")
        return False

    def final_eval(self) -> None:
        """Validate the best weights. At the end, Ultralytics 8.4 calls `on_fit_epoch_end` once more."""
        self.closing = True
        super().final_eval()


@dataclass
class _Monitor:
    """Checks the state after each validation, and calls the listeners.

    Attributes:
        batch: The batch size of the parameters.
        listeners: Functions to call at the end of each epoch.
        closing_metrics: The metrics of the closing validation.
        raised: The exception that a listener has raised.
    """

    batch: int
    listeners: Sequence[Listener]
    closing_metrics: dict[str, float] = field(default_factory=dict)
    raised: Exception | None = None

    def __call__(self, state: Mapping[str, Any]) -> None:
        if state["batch"] != self.batch:
            raise TrainingFailed(
                f"out of memory at batch {self.batch}, and Ultralytics continued with {state['batch']}: "
                "lower batch or imgsz, or use a smaller model",
                "out of memory",
            )
        metrics = {METRICS.get(key, key): float(value) for key, value in state["metrics"].items()}
        if state["closing"]:
            self.closing_metrics = {name: metrics[name] for name in METRICS.values()}
            return
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise TrainingFailed(f"{bad[0]} is not a number after epoch {state['epoch']}: lower lr0", "not a number")
        try:
            for listener in self.listeners:
                listener(Epoch(state["epoch"], state["of"], metrics))
        except Exception as error:
            self.raised = error
            raise


def _state(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a training after a validation, in a form that fits into JSON."""
    return {
        "epoch": trainer.epoch + 1,
        "of": trainer.epochs,
        "batch": trainer.batch_size,
        "closing": trainer.closing,
        "metrics": {**trainer.label_loss_items(trainer.tloss, prefix="train"), **trainer.metrics},
    }


def train_in_processes(trainer: Trainer, on_state: Callable[[Mapping[str, Any]], None], log: Path) -> None:
    """Train on several GPUs, with one process for each, by Ultralytics' own launcher.

    Args:
        trainer: The trainer.
        on_state: A function to call with the state after each validation. An exception from it ends the processes.
        log: A file through which the first process sends the states.

    Raises:
        TrainingFailed: A process has ended before the end of the training.
    """
    trainer.add_callback("on_fit_epoch_end", partial(_append_state, log))
    command, script = generate_ddp_command(trainer)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    process = subprocess.Popen(command)
    try:
        with log.open(encoding="utf-8") as lines:
            unfinished = ""
            while True:
                ended = process.poll() is not None  # before the file is read, so that no line is missed
                while line := lines.readline():
                    unfinished += line
                    if unfinished.endswith("\n"):
                        on_state(json.loads(unfinished))
                        unfinished = ""
                if ended:
                    break
                time.sleep(0.1)
        if process.returncode:
            raise TrainingFailed(f"a process of the training ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.terminate()  # the launcher then ends its workers
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        ddp_cleanup(trainer, script)


def _append_state(log: Path, trainer: Trainer) -> None:
    if RANK > 0:  # each process calls this, but only the first has the metrics
        return
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_state(trainer)) + "\n")


def _final_weights(checkpoint: Path, model: str) -> bytes:
    """Return the trained weights as the bytes of a file that names the user's model."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return checkpoint_bytes(content["model"], {**content["train_args"], "model": model}, content)
