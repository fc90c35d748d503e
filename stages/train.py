"""Stage train: one model from params.yaml.

    python -m stages.train

Reads the training keys of params.yaml and data/prepared. Writes models/best.pt and reports/train (metrics.json of the
validation split, curves over the epochs), and shows the run in MLflow while it trains. A pretrained model is measured
first without training, so that the gain by the training is known.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from stages.base import failures
from stages.base.git import commit, experiment_name, run_name
from stages.base.paths import DATA, MODEL, REPORTS, ROOT
from stages.detector.as_is import AsIs, measure
from stages.detector.cost import add_cost
from stages.detector.fine_tuning import watch
from stages.detector.training import Epoch, Listener, Trained
from stages.detector.training_report import train_with_report
from stages.experiments import names, results
from stages.experiments.command import end_with_command
from stages.experiments.identity import code_digests
from stages.params import file as params_file
from stages.tracking import record
from stages.tracking.mirror import Mirror
from stages.tracking.sync import mirror_this_run

REPORT = REPORTS / "train"


def mirror(run: Mirror) -> Listener:
    """Return a listener that writes the metrics of each epoch to MLflow."""
    return lambda epoch: run.log({(name, epoch.number): value for name, value in epoch.metrics.items()})


def console() -> Listener:
    """Return a listener that prints a line for each epoch."""
    begun = time.monotonic()

    def listen(epoch: Epoch) -> None:
        loss = sum(value for name, value in epoch.metrics.items() if name.startswith("train/"))
        seconds = time.monotonic() - begun
        print(
            f"epoch {epoch.number}/{epoch.of}   mAP50 {epoch.metrics['mAP50']:.3f}   "
            f"mAP50-95 {epoch.metrics['mAP50-95']:.3f}   loss {loss:.2f}   {seconds:.0f} s",
            flush=True,
        )

    return listen


def main() -> None:
    end_with_command()
    params = params_file.load()
    digest = json.loads((DATA / "summary.json").read_text(encoding="utf-8"))["digest"]
    run = Mirror(run_name())
    run.begin(
        record.flat(params_file.read(params_file.PARAMS)), record.tags(commit(), digest, experiment_name(), "train")
    )
    try:
        as_is = measure(params.training(), DATA, code_digests("evaluate"))
        trained = _train(params.training(), run, as_is)
    except BaseException:
        run.end("FAILED")
        raise
    finished = json.loads((REPORT / "metrics.json").read_text(encoding="utf-8"))
    run.log({(name, 0): value for name, value in record.by_split("val", finished).items()})
    run.end("FINISHED")
    if results.is_evaluated(ROOT):
        mirror_this_run(MODEL, "train")  # DVC will skip stage evaluate, which else does this
    gain = f", {trained.metrics['mAP50'] - as_is.validated:+.3f} by training" if as_is is not None else ""
    print(
        f"trained in {trained.train_seconds:.0f} s: mAP50 {trained.metrics['mAP50']:.3f} on the validation split{gain}"
    )


def _train(arguments: dict[str, Any], run: Mirror, as_is: AsIs | None) -> Trained:
    """Train in a folder beside the model, and replace the model when the training is complete."""
    listeners, before = [console(), mirror(run)], {}
    if as_is is not None:
        print(
            f"without training: mAP50 {as_is.validated:.3f} on the validation split, {as_is.tested:.3f} on the test "
            "split",
            flush=True,
        )
        listeners.append(watch(arguments, as_is))
        before = dict(zip(names.AS_IS, (as_is.validated, as_is.tested), strict=True))
    MODEL.parent.mkdir(exist_ok=True)
    work = MODEL.parent / ".train"
    shutil.rmtree(work, ignore_errors=True)  # left by a killed run
    try:
        trained = train_with_report(arguments, DATA, work, REPORT, listeners, before)
        add_cost(trained.model, DATA, arguments["imgsz"], arguments["device"], REPORT)
        trained.model.replace(MODEL)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return trained


if __name__ == "__main__":
    failures.run(main)
