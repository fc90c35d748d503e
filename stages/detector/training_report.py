"""The report of a training: DVCLive's curves over the epochs, and metrics.json of the finished model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive import Live

from stages.detector.training import Epoch, Listener, Trained, train


def train_with_report(
    arguments: Mapping[str, Any],
    data: Path,
    out: Path,
    report: Path,
    listeners: Sequence[Listener] = (),
    before: Mapping[str, float] | None = None,
) -> Trained:
    """Train one detector, as `stages.detector.training.train` does, and write its report.

    Args:
        arguments: The training arguments, by Ultralytics' names.
        data: A prepared data set.
        out: A folder for best.pt.
        report: A folder for metrics.json (mAP50, mAP50-95, precision and recall on the validation split, 0 to 1;
            train_seconds; step, the last epoch) and plots/, a table for each metric with a row for each epoch.
        listeners: Further listeners for each epoch.
        before: Metrics of the model before the training, which metrics.json gets too.

    Raises:
        TrainingFailed, Failure: As from `train`.
    """
    with Live(str(report), dvcyaml=None, report=None, save_dvc_exp=False) as live:
        trained = train(arguments, data, out, [*listeners, _curves(live)])
        metrics = {name: round(value, 5) for name, value in trained.metrics.items()}
        live.summary = {**metrics, **(before or {}), "train_seconds": round(trained.train_seconds, 1)}
    return trained


def _curves(live: Live) -> Listener:
    """Return a listener that adds each metric of an epoch to its table."""

    def listen(epoch: Epoch) -> None:
        live.step = epoch.number
        for name, value in epoch.metrics.items():
            live.log_metric(name, value)
        live.make_summary()

    return listen
