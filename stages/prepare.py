"""Stage prepare: turn the pictures of a source into a YOLO data set with three splits.

    python -m stages.prepare

Reads `data` of params.yaml. Writes data/prepared (images, labels, data.yaml, summary.json) and reports/data (a sheet of
labelled samples, a copy of the summary that git keeps, the data card and its tables).
"""

from __future__ import annotations

import sys

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import DATA, REPORTS
from stages.data.card import data_card
from stages.data.contact_sheet import sheet
from stages.data.preparation import json_text, prepare, samples
from stages.data.sources import check_source
from stages.experiments.command import end_with_command
from stages.params import file as params_file


def main() -> None:
    end_with_command()
    params = params_file.load()
    check_source(params)
    data = params.data
    prepared = prepare(data, DATA)
    summary = prepared.summary
    reports = REPORTS / "data"
    write_atomic(reports / "samples.png", sheet(samples(DATA), data.classes))
    write_atomic(reports / "summary.json", json_text(summary))
    card = data_card(data, prepared)
    card.write(reports)
    if card.warning:
        print(f"warning: {card.warning}", file=sys.stderr)
    counts = ", ".join(f"{split} {n['images']} images {n['boxes']} boxes" for split, n in summary["splits"].items())
    skipped = summary["skipped"]["count"]
    print(
        f"prepared {data.source}: {counts}" + (f"; skipped {skipped}, see reports/data/summary.json" if skipped else "")
    )


if __name__ == "__main__":
    failures.run(main)
