"""One training of one model: a function of its parameters, its data and its seed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
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

METRICS = {
    "metrics/mAP50(B)": "mAP50",
    "metrics/mAP50-95(B)": "mAP50-95",
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
}
"""Ultralytics' names of what is measured, and ours."""


@dataclass(frozen=True)
class Epoch:
    """What is known at the end of an epoch.

    Attributes:
        number: From 1.
        of: Epochs that the training shall have.
        metrics: mAP50, mAP50-95, precision and recall on the validation split (0 to 1), and the losses of training and
            validation as `train/box_loss`, `val/box_loss` and so on.
    """

    number: int
    of: int
    metrics: dict[str, float]


Listener = Callable[[Epoch], None]
"""Called at the end of each epoch, in the thread that called `train`. What it raises ends the training."""


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        model: The weights of the epoch that was best on the validation split (by mAP50-95, as Ultralytics judges).
        metrics: mAP50, mAP50-95, precision and recall of that file on the validation split, 0 to 1.
        train_seconds: Wall time, from the call to the weights.
    """

    model: Path
    metrics: dict[str, float]
    train_seconds: float


class TrainingFailed(Failure):
    """The training did not do what its parameters say.

    Attributes:
        kind: `out of memory`, `not a number`, or `refused` for anything else.
    """

    def __init__(self, text: str, kind: str = "refused") -> None:
        super().__init__(text)
        self.kind = kind


def train(params: Mapping[str, Any], data: Path, out: Path, listeners: Sequence[Listener] = ()) -> Trained:
    """Train one detector. Calls in one process do not disturb each other.

    The same parameters and data on the same machine give the same bytes of weights. Ultralytics' own integrations are
    off; with YOLO_VERBOSE=true in the environment it prints what it usually prints. It fetches nothing on a CPU; on a
    GPU it tests mixed precision with yolo26n.pt, fetched once into `.yolo/` where there is a network (`amp: false` in
    the parameters spares that).

    Args:
        params: Training arguments by Ultralytics' names; `model` and `batch` among them. `head` is this project's:
            which class rows of pretrained weights are kept (`keep` where it is missing; see `stages.head`).
        data: A prepared data set: a folder with data.yaml.
        out: A folder for best.pt. Whatever else is written there is removed again.
        listeners: What to tell of each epoch.

    Returns:
        The weights, at `out`/best.pt, and how good they are.

    Raises:
        TrainingFailed: Memory ran out (also where Ultralytics would have gone on with half the batch), a loss is not a
            number, or Ultralytics refuses the arguments, the model or the data.
        Failure: The model cannot be had, or `head` does not fit it.
    """
    begun = time.monotonic()
    work = (out / "work").resolve()
    shutil.rmtree(work, ignore_errors=True)
    start = start_from(params["model"], params.get("head", "keep"), class_names(data), params.get("seed", 0))
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
    judge = _Judge(params["batch"], listeners)
    try:
        trainer = Trainer(overrides=arguments)
        if trainer.ddp:
            train_in_processes(trainer, judge, work / "epochs.jsonl")
        else:
            trainer.add_callback("on_fit_epoch_end", lambda trainer: judge(_state(trainer)))
            trainer.train()
        model = out / "best.pt"
        write_atomic(model, _sealed(work / "run" / "weights" / "best.pt", params["model"]))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # how Ultralytics and torch refuse
        if error is judge.raised:
            raise
        kind = "out of memory" if "out of memory" in str(error) else "refused"
        raise TrainingFailed(f"training failed: {error}", kind) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Trained(model, judge.closing, time.monotonic() - begun)


class Trainer(DetectionTrainer):
    """Ultralytics' trainer, which also knows whether it is at its closing validation, and mends nothing in silence.

    Leans on two methods of Ultralytics 8.4.
    """

    closing = False

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Ultralytics would go back to the last checkpoint and repeat the epoch, up to three times."""
        broken = self.loss is not None and not self.loss.isfinite().all()
        if broken or (self.fitness is not None and not math.isfinite(self.fitness)):
            raise TrainingFailed(f"the loss is not a number after epoch {epoch + 1}: lower lr0", "not a number")
        return False

    def final_eval(self) -> None:
        """Validate the best weights. Ultralytics 8.4 ends this with one more `on_fit_epoch_end`."""
        self.closing = True
        super().final_eval()


@dataclass
class _Judge:
    """Hears of each validation, stops a training that is not what was asked for, and tells the listeners."""

    batch: int
    listeners: Sequence[Listener]
    closing: dict[str, float] = field(default_factory=dict)
    raised: Exception | None = None  # by a listener

    def __call__(self, state: Mapping[str, Any]) -> None:
        if state["batch"] != self.batch:
            raise TrainingFailed(
                f"out of memory at batch {self.batch}, and Ultralytics went on with {state['batch']}: "
                "lower batch or imgsz, or take a smaller model",
                "out of memory",
            )
        metrics = {METRICS.get(key, key): float(value) for key, value in state["metrics"].items()}
        if state["closing"]:
            self.closing = {name: metrics[name] for name in METRICS.values()}
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
    return {
        "epoch": trainer.epoch + 1,
        "of": trainer.epochs,
        "batch": trainer.batch_size,
        "closing": trainer.closing,
        "metrics": {**trainer.label_loss_items(trainer.tloss, prefix="train"), **trainer.metrics},
    }


def train_in_processes(trainer: Trainer, judge: Callable[[Mapping[str, Any]], None], log: Path) -> None:
    """Train on several GPUs, in one process each, by Ultralytics' own launcher; hear of the epochs through a file.

    Raises:
        TrainingFailed: A process ended before the training did.
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
                ended = process.poll() is not None  # asked before the file is read, so that no line is missed
                while line := lines.readline():
                    unfinished += line
                    if unfinished.endswith("\n"):
                        judge(json.loads(unfinished))
                        unfinished = ""
                if ended:
                    break
                time.sleep(0.1)
        if process.returncode:
            raise TrainingFailed(f"a process of the training ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.terminate()  # the launcher ends its workers
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        ddp_cleanup(trainer, script)


def _append_state(log: Path, trainer: Trainer) -> None:
    if RANK > 0:  # each process calls this, and the first alone has measured
        return
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_state(trainer)) + "\n")


def _sealed(checkpoint: Path, model: str) -> bytes:
    """Return the trained weights as a file, which names the model that the user asked for."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return checkpoint_bytes(content["model"], {**content["train_args"], "model": model}, content)
