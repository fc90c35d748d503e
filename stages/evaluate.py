"""Stage evaluate: measure the model on the test split. Only the repeats of stage tune read that split too.

    python -m stages.evaluate

Reads models/best.pt and data/prepared. Writes reports/evaluate: metrics.json, accuracy.csv, and in plots/ the curve of
precision and recall, the confusion of classes, the errors by kind, the calibration, and sheets of images. The operating
point is chosen on the validation split. Then it completes the run in MLflow.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from stages.base import failures
from stages.base.failures import Failure
from stages.base.formatting import plain
from stages.base.paths import DATA, MODEL, REPORTS
from stages.detector.evaluation import evaluate_with_report
from stages.experiments import refs
from stages.experiments.command import end_with_command
from stages.params import file as params_file
from stages.tracking.sync import mirror_this_run


def summary(metrics: Mapping[str, float], rule: str) -> str:
    """Return the main results on the test split as lines. `rule` is `evaluate.threshold` as a person writes it."""
    lost = {name.removeprefix("lost_"): value for name, value in metrics.items() if name.startswith("lost_")}
    kinds = ", ".join(f"{kind} {value:.1f}" for kind, value in sorted(lost.items(), key=lambda item: -item[1]))
    return "\n".join(
        [
            f"test split: mAP50 {metrics['mAP50']:.3f}, mAP50-95 {metrics['mAP50-95']:.3f}, "
            f"{metrics['ms_per_image']:.1f} ms per image",
            f"points of mAP50 lost by kind of error: {kinds}",
            f"confidence over {metrics['threshold']:.3f} ({rule} on the validation split): "
            f"precision {metrics['precision_at_threshold']:.3f}, recall {metrics['recall_at_threshold']:.3f}",
        ]
    )


def main() -> None:
    end_with_command()
    if refs.discard_damaged_model():
        raise Failure(
            "DVC restored a damaged models/best.pt from its cache; run the same command again to train it again"
        )
    params = params_file.load()
    rule = params.evaluate.threshold
    result = evaluate_with_report(
        MODEL, DATA, params.imgsz, params.device, params.data.classes, rule, REPORTS / "evaluate"
    )
    print(summary(result.metrics, plain(rule)))
    if result.warning:
        print(f"warning: {result.warning}", file=sys.stderr)
    mirror_this_run(MODEL, "evaluate")


if __name__ == "__main__":
    failures.run(main)
