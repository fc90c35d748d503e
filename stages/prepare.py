"""Stage prepare: turn the pictures of a source into a YOLO data set with three splits.

    python -m stages.prepare

Reads `data` of params.yaml. Writes data/prepared (images, labels, data.yaml, summary.json) and reports/data (a sheet of
labelled samples, and a copy of the summary that git keeps).
"""

from __future__ import annotations

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import DATA, REPORTS
from stages.data.contact_sheet import sheet
from stages.data.preparation import json_text, prepare, samples
from stages.data.sources import check_source
from stages.params import file as params_file


def main() -> None:
    params = params_file.load()
    check_source(params)
    data = params.data
    summary = prepare(data, DATA)
    write_atomic(REPORTS / "data" / "samples.png", sheet(samples(DATA), data.classes))
    write_atomic(REPORTS / "data" / "summary.json", json_text(summary))
    counts = ", ".join(f"{split} {n['images']} images {n['boxes']} boxes" for split, n in summary["splits"].items())
    skipped = summary["skipped"]["count"]
    print(
        f"prepared {data.source}: {counts}" + (f"; skipped {skipped}, see reports/data/summary.json" if skipped else "")
    )


if __name__ == "__main__":
    failures.run(main)
