"""Stage evaluate: measure the model on the test split. Only the repeats of stage tune read that split too.

    python -m stages.evaluate

Reads models/best.pt and data/prepared. Writes reports/evaluate: metrics.json, and in plots/ the precision-recall curve,
the confusion of classes and a sheet of predicted beside true boxes. Then it completes the run in MLflow.
"""

from __future__ import annotations

from stages.base import failures
from stages.base.paths import DATA, MODEL, REPORTS
from stages.detector.evaluation import evaluate_with_report
from stages.params import file as params_file
from stages.tracking.sync import mirror_this_run


def main() -> None:
    params = params_file.load()
    result = evaluate_with_report(MODEL, DATA, params.imgsz, params.device, params.data.classes, REPORTS / "evaluate")
    print(
        f"test split: mAP50 {result.metrics['mAP50']:.3f}, mAP50-95 {result.metrics['mAP50-95']:.3f}, "
        f"{result.metrics['ms_per_image']:.1f} ms per image"
    )
    mirror_this_run(MODEL, "evaluate")


if __name__ == "__main__":
    failures.run(main)
