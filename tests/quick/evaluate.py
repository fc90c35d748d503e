"""In the place of stages/evaluate.py: the test metrics of a quick training's model."""

from __future__ import annotations

import json

from stages.repository import MODEL, REPORTS, write_atomic
from stages.sync import mirror_this_run


def main() -> None:
    found = json.loads(MODEL.read_text(encoding="utf-8"))["mAP50"]
    plots = REPORTS / "evaluate" / "plots"
    for name in ("precision_recall.tsv", "confusion.csv", "predictions.png"):
        write_atomic(plots / name, "a\tb\n1\t2\n")
    metrics = {"mAP50": found - 0.01, "mAP50-95": found / 2, "precision": 0.5, "recall": 0.5, "ms_per_image": 1.0}
    write_atomic(REPORTS / "evaluate" / "metrics.json", json.dumps(metrics))
    mirror_this_run(MODEL, "evaluate")


if __name__ == "__main__":
    main()
