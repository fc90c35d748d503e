"""The data card: right numbers, findings by name, the same on every machine."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages import prepare as stage
from stages.data.boxes import SIZES, box_area
from stages.data.card import CARD, DUPLICATES, SUSPICIOUS, DataCard, data_card
from stages.data.drawing.scenes import draw
from stages.data.inspection import SIDES, TINY, inspect
from stages.data.preparation import prepare
from stages.data.samples import Box, encode
from stages.params import file as params_file
from stages.params.schema import Data
from tests.helpers.data import data
from tests.helpers.project import SOURCE

PERSON = "0 0.5 0.5 0.25 0.5\n"
DOG = "1 0.3 0.3 0.2 0.2\n"


def add(folder: Path, split: str, name: str, seed: int, labels: str) -> Path:
    """Add a drawn image of 96x96 pixels and its labels to a folder in YOLO's layout."""
    image, label = folder / f"images/{split}/{name}.jpg", folder / f"labels/{split}/{name}.txt"
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(encode(draw(random.Random(seed), 96)[0]))
    label.write_text(labels, encoding="utf-8")
    return image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder in YOLO's layout: 6, 2 and 2 images, two classes, an image without objects in train."""
    folder = tmp_path / "source"
    for number, split in enumerate(["train"] * 5 + ["val"] * 2 + ["test"] * 2):
        add(folder, split, f"{split}{number}", number, PERSON + (DOG if number % 2 else ""))
    add(folder, "test", "dog", 8, DOG)
    add(folder, "train", "nothing", 9, "")
    (folder / "images/test/test8.jpg").unlink()
    (folder / "data.yaml").write_text(
        "names: [person, dog]\ntrain: images/train\nval: images/val\ntest: images/test\n", encoding="utf-8"
    )
    return folder


def group(source: Path) -> Data:
    return data(source="yolo", path=str(source), classes=["person", "dog"], background=True)


def card(source: Path, workers: int = 1) -> DataCard:
    prepared = prepare(group(source), source.parent / "prepared", workers)
    return data_card(group(source), prepared)


def rows(text: str, section: str) -> list[list[str]]:
    """Return the cells of the first table of a section, without its head."""
    lines = [
        line for line in text.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines() if line[:1] == "|"
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_images_and_boxes_are_counted_by_split_and_class(source: Path) -> None:
    text = card(source).files[CARD] or ""
    assert rows(text, "Images and boxes") == [
        ["all", "6", "2", "2", "7", "3", "3"],
        ["person", "5", "2", "1", "5", "2", "1"],
        ["dog", "2", "1", "2", "2", "1", "2"],
        ["no object", "1", "0", "0", "0", "0", "0"],
    ]


def test_sizes_are_those_of_the_image_as_evaluated(source: Path) -> None:
    for row in rows(card(source).files[CARD] or "", "Sizes of boxes"):
        side, split, counts = int(row[0]), row[1], [int(count) for count in row[2:]]
        people, dogs = {"train": (5, 2), "val": (2, 1), "test": (1, 2)}[split]
        edges = np.array([[0, 0, side * 0.25, side * 0.5]] * people + [[0, 0, side * 0.2, side * 0.2]] * dogs)
        bounds = [SIZES[size] for size in ("small", "medium", "large")]
        areas = box_area(edges)
        assert counts == [int(((areas >= low) & (areas <= high)).sum()) for low, high in bounds]


def test_a_wide_image_is_evaluated_with_its_longest_side_at_imgsz() -> None:
    box: Box = (0, 0.5, 0.5, 0.1, 0.4)
    sizes = inspect(np.zeros((50, 200, 3), np.uint8), [box]).sizes
    assert dict(zip(SIDES, sizes, strict=True)) == {160: (1, 0, 0), 320: (1, 1, 0), 640: (0, 1, 0), 1280: (0, 0, 1)}


def test_clean_data_have_no_tables_and_no_warning(source: Path) -> None:
    report = card(source)
    assert report.warning == ""
    assert {name for name, content in report.files.items() if content is None} == {DUPLICATES, SUSPICIOUS}
    assert (report.files[CARD] or "").count("There are none.") == 2


def test_a_duplicate_in_train_and_test_is_a_warning_of_one_line(source: Path) -> None:
    copy = add(source, "test", "copy", 2, PERSON)
    pixels = cv2.resize(draw(random.Random(2), 96)[0], (64, 64), interpolation=cv2.INTER_AREA)
    copy.write_bytes(encode(np.asarray(pixels, np.uint8)))
    report = card(source)
    assert report.warning == (
        "images of val and test that look like one of train: images/test/copy.jpg like images/train/train2.jpg; "
        "see reports/data/data_card.md"
    )
    assert "- `images/test/copy.jpg`, `images/train/train2.jpg`\n" in (report.files[CARD] or "")
    assert rows(report.files[CARD] or "", "Duplicates") == [["train and test", "1", "2"]]
    assert (report.files[DUPLICATES] or "").splitlines() == [
        "group,split,file",
        "1,test,images/test/copy.jpg",
        "1,train,images/train/train2.jpg",
    ]


def test_many_duplicates_are_counted_and_the_first_are_named(source: Path) -> None:
    for number in range(14):
        add(source, "train", f"twin{number:02d}", 100, PERSON)
    add(source, "val", "val twin", 101, PERSON)
    add(source, "test", "test twin", 101, PERSON)
    for number in range(5):
        add(source, "val", f"late{number}", 1, PERSON)
    report = card(source)
    text = report.files[CARD] or ""
    assert report.warning.startswith("images of val and test that look like one of train: images/val/late0.jpg like ")
    assert "; and 2 more; see" in report.warning
    assert rows(text, "Duplicates") == [
        ["train and val", "1", "6"],
        ["val and test", "1", "2"],
        ["train", "1", "14"],
    ]
    assert re.search(r"- `images/train/twin00.jpg`, .*`images/train/twin09.jpg`, and 4 more\n", text)
    assert "twin10" not in text
    assert len((report.files[DUPLICATES] or "").splitlines()) == 1 + 6 + 14 + 2


def test_boxes_that_cover_each_other_and_tiny_boxes_are_named_with_their_line(source: Path) -> None:
    twice = "0 0.5 0.5 0.4 0.4\n1 0.5 0.5 0.4 0.4\n0 0.5 0.5 0.4 0.384\n0 0.5 0.5 0.4 0.3\n"
    add(source, "val", "twice", 50, twice)
    add(source, "train", "tiny", 51, f"1 0.5 0.5 {(TINY - 1) / 96:.6f} 0.5\n0 0.2 0.2 {(TINY + 1) / 96:.6f} 0.2\n")
    report = card(source)
    assert (report.files[SUSPICIOUS] or "").splitlines() == [
        "file,line,class,problem",
        "labels/train/tiny.txt,1,dog,is 3.0 x 48.0 pixels",
        "labels/val/twice.txt,3,person,covers line 1 (IoU 0.96)",
    ]
    assert "- `labels/val/twice.txt`, line 3: person covers line 1 (IoU 0.96)\n" in (report.files[CARD] or "")
    assert report.warning == ""


def test_the_first_ten_suspicious_labels_are_named(source: Path) -> None:
    for number in range(13):
        add(source, "train", f"tiny{number:02d}", 60 + number, "0 0.5 0.5 0.02 0.02\n")
    text = card(source).files[CARD] or ""
    assert text.count("- `labels/train/tiny") == 10
    assert f"And 3 more. All labels: [{SUSPICIOUS}]({SUSPICIOUS}).\n" in text


def test_the_card_depends_on_the_data_alone(source: Path, tmp_path: Path) -> None:
    add(source, "test", "copy", 2, PERSON)
    first = card(source)
    shutil.copytree(source, tmp_path / "elsewhere" / "named otherwise")
    assert card(tmp_path / "elsewhere" / "named otherwise", workers=2) == first
    assert not any(str(tmp_path) in (content or "") for content in first.files.values())


def test_a_table_of_an_earlier_run_is_removed(source: Path, tmp_path: Path) -> None:
    copy = add(source, "test", "copy", 2, PERSON)
    card(source).write(tmp_path / "reports")
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {CARD, DUPLICATES}
    copy.unlink()
    card(source).write(tmp_path / "reports")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [CARD]


def test_stage_prepare_warns_of_leaks_and_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        add(source, "val", f"copy{number}", 2, PERSON)
    params = params_file.load(SOURCE / "params.yaml").model_copy(update={"data": group(source)})
    monkeypatch.setattr(params_file, "load", lambda: params)
    monkeypatch.setattr(stage, "DATA", tmp_path / "prepared")
    monkeypatch.setattr(stage, "REPORTS", tmp_path / "reports")
    stage.main()
    printed = capsys.readouterr()
    assert printed.out.startswith("prepared yolo: train 6 images 7 boxes, ")
    (line,) = [line for line in printed.err.splitlines() if "warning" in line]
    assert line.startswith("warning: images of val and test that look like one of train: images/val/copy0.jpg like ")
    assert line.endswith("; and 2 more; see reports/data/data_card.md")
    written = {path.name for path in (tmp_path / "reports" / "data").iterdir()}
    assert written == {"samples.png", "summary.json", CARD, DUPLICATES}
