"""Stage evaluate: the model on the test split, which nothing else reads but the repeats that stage tune judges by.

    python -m stages.evaluate

Reads models/best.pt and data/prepared; writes reports/evaluate: metrics.json, and in plots/ the precision-recall curve,
the confusion of classes and a sheet of predictions beside the truth. Then the run is whole, and so is its mirror.
"""

from __future__ import annotations

from stages.base import failures
from stages.base.paths import DATA, MODEL, REPORTS
from stages.detector.evaluation import evaluate_with_report
from stages.params import file as params_file
from stages.tracking.sync import mirror_this_run


def main() -> None:
    given = params_file.load()
    result = evaluate_with_report(MODEL, DATA, given.imgsz, given.device, given.data.classes, REPORTS / "evaluate")
    print(
        f"test split: mAP50 {result.metrics['mAP50']:.3f}, mAP50-95 {result.metrics['mAP50-95']:.3f}, "
        f"{result.metrics['ms_per_image']:.1f} ms an image"
    )
    mirror_this_run(MODEL, "evaluate")


if __name__ == "__main__":
    failures.run(main)
