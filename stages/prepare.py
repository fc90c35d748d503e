"""Stage prepare: pictures from a source, as a YOLO data set with three splits."""

from __future__ import annotations

from stages.base import failures
from stages.base.files import write_atomic
from stages.base.paths import DATA, REPORTS
from stages.data.contact_sheet import sheet
from stages.data.preparation import _json, prepare, samples
from stages.params import file as params_file


def main() -> None:
    data = params_file.load().data
    summary = prepare(data, DATA)
    write_atomic(REPORTS / "data" / "samples.png", sheet(samples(DATA), data.classes))
    write_atomic(REPORTS / "data" / "summary.json", _json(summary))
    counts = ", ".join(f"{split} {n['images']} images {n['boxes']} boxes" for split, n in summary["splits"].items())
    skipped = summary["skipped"]["count"]
    print(
        f"prepared {data.source}: {counts}" + (f"; skipped {skipped}, see reports/data/summary.json" if skipped else "")
    )


if __name__ == "__main__":
    failures.run(main)
