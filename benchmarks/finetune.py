"""Measure which settings preserve pretrained weights: validation mAP50 for values of lr0, nbs, head and other keys.

    python -m benchmarks.finetune --model yolov8n.pt [--head "{person: Normal}"] [--zip coco128.zip] [--splits 5]

The base has the training keys of presets/tiny_coco.yaml, and photographs stored at 320 pixels. Every other setting
differs from it in the values that its row names. This project's train() trains each setting once on each of several
splits of COCO128's photographs of people (`data.seed` 0, 1, ...). There is one training per core, with one thread each.
The model without training is measured on the same splits. Each result is saved to .cache/finetune/ at once, so the same
command resumes after a kill. Other code has a folder of its own, so a table never mixes two versions.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import at_least_one, code_digest, delivered
from stages.base import failures
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.formatting import markdown_table, words
from stages.base.paths import main_root
from stages.data.preparation import prepare
from stages.params.preset import values_of
from stages.params.resolution import resolved
from stages.params.schema import GROUPS, Data

HOME = main_root() / ".cache" / "finetune" / code_digest("prepare", "train", "evaluate")
RESULTS = HOME / "results.csv"
COLUMNS = ("model", "split", "setting", "mAP50", "seconds")

Results = dict[tuple[str, int, str], tuple[float, float]]
"""mAP50 on the validation split and seconds, by model, split and setting."""

AS_IS: dict[str, Any] = {"epochs": 0}
ULTRALYTICS = {"optimizer": "auto", "batch": 16, "nbs": 64, "warmup_epochs": 3.0, "scale": 0.5, "mosaic": 1.0}
MAIN: list[dict[str, Any]] = [
    AS_IS,
    {},
    *({"lr0": lr0} for lr0 in (1e-5, 2e-5, 1e-4, 2e-4, 5e-4, 2e-3)),
    *({"head": "new", "lr0": lr0} for lr0 in (1e-4, 2e-4, 5e-4, 2e-3)),
    ULTRALYTICS,
    {**ULTRALYTICS, "head": "new"},
]
"""Changes of the base that are trained on every split. `epochs: 0` means no training."""

DETAIL: list[dict[str, Any]] = [
    {"data.imgsz": 416},
    {"imgsz": 416, "data.imgsz": 416},
    *({"epochs": epochs} for epochs in (2, 5)),
    {"nbs": 16},
    {"nbs": 16, "lr0": 2e-4},
    {"batch": 8, "lr0": 1e-4},
    *({"freeze": layers} for layers in (10, 22)),
    *({"optimizer": "SGD", "lr0": lr0} for lr0 in (2e-3, 1e-2)),
    *({"warmup_epochs": warmup} for warmup in (0.0, 2.0)),
    *({"scale": scale} for scale in (0.0, 0.5)),
    {"mosaic": 1.0},
]
"""Changes of the base that are trained on the first DETAIL_SPLITS splits."""

DETAIL_SPLITS = 3


def data_of(split: int, imgsz: int | None, archive: str | None) -> Path:
    """Return the folder of the photographs with this `data.seed` and `data.imgsz`; prepare them if needed."""
    out = HOME / f"data-{split}-{imgsz}"
    if not out.is_dir():
        values = {**delivered("tiny_coco")["data"], "zip": archive, "seed": split, "imgsz": imgsz}
        prepare(Data.model_validate(values), out, workers=1)
    return out


def run(arguments: Mapping[str, Any], data: Path) -> tuple[float, float]:
    """Train once; return mAP50 on the validation split (0 to 1) and the seconds. It runs in a process of its own.

    Raises:
        Failure: The training failed, or the weights have none of the classes.
    """
    from stages.detector.training import train
    from stages.detector.ultralytics import set_threads

    set_threads(1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        if arguments["epochs"] == 0:
            from stages.detector.as_is import measure
            from stages.experiments.identity import code_digests

            as_is = measure(arguments, data, code_digests("evaluate"))
            if as_is is None:
                raise Failure("the weights have none of the classes, so there is no model without training")
            return as_is.validated, time.monotonic() - begun
        return train(arguments, data, Path(folder)).metrics["mAP50"], time.monotonic() - begun


def saved_results() -> Results:
    """Return the results of earlier runs."""
    if not RESULTS.is_file():
        return {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return {
            (row["model"], int(row["split"]), row["setting"]): (float(row["mAP50"]), float(row["seconds"]))
            for row in csv.DictReader(file)
        }


def save(results: Results) -> None:
    """Write all results to the file."""
    lines = [",".join(COLUMNS)]
    for (model, split, setting), (value, seconds) in sorted(results.items()):
        quoted = '"' + setting.replace('"', '""') + '"'
        lines.append(f"{model},{split},{quoted},{value:.5f},{seconds:.1f}")
    write_atomic(RESULTS, "\n".join([*lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov8n.pt")
    parser.add_argument("--head", default="keep")
    parser.add_argument("--zip", help="a local copy of coco128.zip")
    parser.add_argument("--splits", type=at_least_one, default=5)
    parser.add_argument("--main", action="store_true", help="skip the settings that are trained on fewer splits")
    options = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    base = values_of("tiny_coco")
    changes = {"model": options.model, "head": yaml.safe_load(options.head), "seed": 0, "device": "cpu"}
    base = {**{key: value for key, value in base.items() if key not in GROUPS}, **changes}
    results = saved_results()
    chosen = [(setting, options.splits) for setting in MAIN]
    chosen += [] if options.main else [(setting, min(options.splits, DETAIL_SPLITS)) for setting in DETAIL]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = {}
        for setting, splits in chosen:
            arguments, imgsz = setting_of({**base, **setting})
            for split in range(splits):
                key = key_of(arguments, imgsz, split)
                if key not in results:
                    waiting[pool.submit(run, arguments, data_of(split, imgsz, options.zip))] = key
        try:
            for number, done in enumerate(as_completed(waiting), start=1):
                key = waiting[done]
                try:
                    results[key] = done.result()
                except Failure as failure:  # the others go on, and the table shows a gap
                    print(f"{key[2]}, split {key[1]}: {failure}", file=sys.stderr, flush=True)
                else:
                    save(results)
                print(f"{number} of {len(waiting)}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print("\n".join(table(base, results, chosen, options.splits)))


def setting_of(values: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Return the training arguments of a setting, and its `data.imgsz`."""
    arguments = resolved(values)
    return arguments, arguments.pop("data.imgsz", None)


def key_of(arguments: Mapping[str, Any], imgsz: int | None, split: int) -> tuple[str, int, str]:
    """Return the key of a result: model, split, and the setting as text."""
    return Path(arguments["model"]).name, split, f"{json.dumps(arguments, sort_keys=True)} data {imgsz}"


def table(
    base: Mapping[str, Any], results: Results, chosen: Sequence[tuple[Mapping[str, Any], int]], splits: int
) -> list[str]:
    """Return the lines of a table: each setting, its mAP50 on each split, the mean, and the difference to the base.

    A dash stands for a split on which a setting was not trained, or failed. The means are over the other splits.
    """

    def measured(setting: Mapping[str, Any], count: int) -> dict[int, float]:
        arguments, imgsz = setting_of({**base, **setting})
        keys = {split: key_of(arguments, imgsz, split) for split in range(count)}
        return {split: results[key][0] for split, key in keys.items() if key in results}

    rows, of_base = [], measured({}, splits)
    for setting, count in chosen:
        values = measured(setting, count)
        gains = [value - of_base[split] for split, value in values.items() if split in of_base]
        name = "no training" if setting is AS_IS else words(setting) or "the base"
        cells = [f"{values[split]:.3f}" if split in values else "-" for split in range(splits)]
        mean = f"{statistics.mean(values.values()):.3f}" if values else "-"
        rows.append([name, *cells, mean, f"{statistics.mean(gains):+.3f}" if gains else "-"])
    header = ("setting", *(f"split {split}" for split in range(splits)), "mean", "to the base on the same splits")
    return markdown_table(header, rows)


if __name__ == "__main__":
    failures.run(main)
