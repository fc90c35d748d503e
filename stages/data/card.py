"""The data card: counts, sizes of boxes, duplicates and suspicious labels of a prepared data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base.files import write_atomic
from stages.base.formatting import markdown_table
from stages.base.tables import write_table
from stages.base.templates import templates
from stages.data.boxes import SIZES
from stages.data.duplicates import NEAR, groups
from stages.data.inspection import OVERLAP, SIDES, TINY
from stages.data.preparation import Prepared, Written
from stages.data.samples import SPLITS
from stages.data.splits import NOTHING
from stages.params.schema import Data

CARD = "data_card.md"
DUPLICATES = "duplicates.csv"
SUSPICIOUS = "suspicious_labels.csv"

LISTED = 10  # groups, files of a group, and labels that the card names; the tables have all
WARNED = 3  # images that the warning names

ALL = -2  # the row of all classes


@dataclass(frozen=True)
class DataCard:
    """The report on a prepared data set.

    Attributes:
        files: The content of each file by its name. None stands for a table without rows, which has no file.
        warning: One line that names images of val and test that look like one of train. It is empty if there are none.
    """

    files: dict[str, str | None]
    warning: str

    def write(self, folder: Path) -> None:
        """Write the files to a folder, and remove a table of an earlier run that has no rows any more."""
        for name, content in self.files.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_atomic(folder / name, content)


def data_card(data: Data, prepared: Prepared) -> DataCard:
    """Return the report on a prepared data set. It has no absolute path and no time.

    Args:
        data: The group `data` of params.yaml.
        prepared: The result of `prepare`.
    """
    pictures = prepared.pictures
    alike = [[pictures[number] for number in group] for group in groups([p.inspection.hash for p in pictures])]
    duplicates = sorted(alike, key=lambda group: not _leaks(group))
    files = [(number, p.split, p.file) for number, group in enumerate(duplicates, start=1) for p in group]
    suspicious = [
        (f"labels/{picture.split}/{picture.name}.txt", suspicion.line, data.classes[suspicion.label], suspicion.problem)
        for picture in pictures
        for suspicion in picture.inspection.suspicions
    ]
    card = (
        templates(Path(__file__).parent)
        .get_template("data_card.md.j2")
        .render(
            facts=_table(("data", "value"), _facts(data, prepared)),
            counts=_counts(data.classes, pictures),
            bounds=[f"{SIZES[size][0]:,.0f}" for size in ("medium", "large")],
            sizes=_sizes(pictures),
            near=NEAR,
            duplicates=[[picture.file for picture in group] for group in duplicates],
            duplicate_counts=_duplicate_counts(duplicates),
            overlap=OVERLAP,
            tiny=TINY,
            suspicious=suspicious,
            listed=LISTED,
            tables={"duplicates": DUPLICATES, "suspicious": SUSPICIOUS},
        )
    )
    tables = {
        DUPLICATES: write_table(("group", "split", "file"), files) if files else None,
        SUSPICIOUS: write_table(("file", "line", "class", "problem"), suspicious) if suspicious else None,
    }
    return DataCard({CARD: card, **tables}, _warning(duplicates))


def _leaks(group: Sequence[Written]) -> bool:
    """Return whether an image of val or test looks like one of train."""
    splits = {picture.split for picture in group}
    return "train" in splits and len(splits) > 1


def _warning(duplicates: Sequence[Sequence[Written]]) -> str:
    pairs = []
    for group in filter(_leaks, duplicates):
        example = next(picture.file for picture in group if picture.split == "train")
        pairs += [f"{picture.file} like {example}" for picture in group if picture.split != "train"]
    if not pairs:
        return ""
    named = "; ".join(pairs[:WARNED]) + (f"; and {len(pairs) - WARNED} more" if len(pairs) > WARNED else "")
    return f"images of val and test that look like one of train: {named}; see reports/data/{CARD}"


def _facts(data: Data, prepared: Prepared) -> list[tuple[str, str]]:
    summary = prepared.summary
    longest = summary["longest_side"]
    facts = [
        ("source", data.source),
        ("seed", str(data.seed)),
        ("longest side", f"at most {longest} pixels" if longest else "that of the source"),
        ("digest", summary["digest"]),
    ]
    facts += [("left out", f"{count} {kind}") for kind, count in summary["left_out"].items()]
    if summary["skipped"]["count"]:
        facts.append(("skipped", f"{summary['skipped']['count']} files, listed in summary.json"))
    return facts


def _counts(classes: Sequence[str], pictures: Sequence[Written]) -> str:
    """Return the images and the boxes of each split and class."""
    images: Counter[tuple[str, int]] = Counter()
    boxes: Counter[tuple[str, int]] = Counter()
    for picture in pictures:
        images.update((picture.split, label) for label in {ALL, *(picture.labels or [NOTHING])})
        boxes.update((picture.split, label) for label in (*picture.labels, *[ALL] * len(picture.labels)))
    columns = [f"{noun}, {split}" for noun in ("images", "boxes") for split in SPLITS]
    rows = [
        [name, *(str(count[split, label]) for count in (images, boxes) for split in SPLITS)]
        for label, name in ((ALL, "all"), *enumerate(classes), (NOTHING, "no object"))
    ]
    return _table(("class", *columns), rows)


def _sizes(pictures: Sequence[Written]) -> str:
    """Return the boxes of each size by `imgsz` and split."""
    names = [name for name in SIZES if name != "all"]
    counts = {split: np.zeros((len(SIDES), len(names)), int) for split in SPLITS}
    for picture in pictures:
        counts[picture.split] += picture.inspection.sizes
    rows = [[str(side), split, *map(str, counts[split][place])] for place, side in enumerate(SIDES) for split in SPLITS]
    return _table(("imgsz", "split", *names), rows)


def _duplicate_counts(duplicates: Sequence[Sequence[Written]]) -> str:
    """Return the groups and their images by the splits that a group is in."""
    groups_in: Counter[str] = Counter()
    images_in: Counter[str] = Counter()
    for group in duplicates:
        splits = " and ".join(split for split in SPLITS if any(picture.split == split for picture in group))
        groups_in[splits] += 1
        images_in[splits] += len(group)
    rows = [[splits, str(count), str(images_in[splits])] for splits, count in groups_in.items()]
    return _table(("splits", "groups", "images"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_table(head, rows))
