"""Preparation: atomic, the same on every machine, and without silent changes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.base.failures import Failure
from stages.data.drawing.scenes import draw
from stages.data.images import read_image
from stages.data.preparation import prepare
from stages.data.samples import encode
from stages.params import file as params_file
from stages.params.schema import Data
from tests.helpers.data import VALUES, data
from tests.helpers.files import fingerprint
from tests.helpers.project import SOURCE

Photograph = Callable[..., Path]


def drawn(**changes: Any) -> Data:
    return data(split={"train": 20, "val": 6, "test": 6}, imgsz=64, **changes)


@pytest.fixture
def folder(tmp_path: Path, photograph: Photograph) -> Path:
    """A folder in YOLO's layout, with 12 images of 64x48 pixels."""
    for n in range(12):
        photograph(f"source/images/{n}.jpg")
        label = tmp_path / f"source/labels/{n}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")
    return tmp_path / "source"


def test_the_layout_is_what_the_trainer_reads(tmp_path: Path) -> None:
    summary = prepare(drawn(), tmp_path / "out").summary
    files = fingerprint(tmp_path / "out")
    assert {"data.yaml", "summary.json", "images/train/train-00000.jpg", "labels/test/test-00005.txt"} <= files.keys()
    assert len(files) == 2 * 32 + 2
    assert params_file.read(tmp_path / "out/data.yaml") == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": {0: "person"},
    }
    assert {split: counts["images"] for split, counts in summary["splits"].items()} == {
        "train": 20,
        "val": 6,
        "test": 6,
    }
    assert summary == json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))


def test_the_bytes_do_not_depend_on_place_or_number_of_processes(tmp_path: Path) -> None:
    first = prepare(drawn(), tmp_path / "one", workers=1)
    second = prepare(drawn(), tmp_path / "elsewhere" / "two", workers=3)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "elsewhere" / "two")
    assert first == second


def test_different_data_have_different_digests(tmp_path: Path, folder: Path) -> None:
    def digest(group: Data) -> str:
        return str(prepare(group, tmp_path / "out", workers=1).summary["digest"])

    yolo = data(source="yolo", path=str(folder))
    digests = [digest(drawn()), digest(drawn(seed=1)), digest(yolo), digest(yolo.model_copy(update={"imgsz": 32}))]
    (folder / "labels/3.txt").write_text("0 0.5 0.5 0.25 0.4\n", encoding="utf-8")
    digests.append(digest(yolo))
    assert len(set(digests)) == 5


def test_images_that_need_no_change_keep_their_bytes_and_the_source_its_own(tmp_path: Path, folder: Path) -> None:
    before = fingerprint(folder)
    prepare(data(source="yolo", path=str(folder), imgsz=64), tmp_path / "out")
    for image in (tmp_path / "out/images").rglob("*.jpg"):
        assert image.read_bytes() == (folder / "images" / image.name).read_bytes()
        assert image.stat().st_nlink == 1, "DVC would write-protect the user's file with the copy in its cache"
    assert fingerprint(folder) == before


def test_larger_images_are_reduced_with_their_aspect(tmp_path: Path, folder: Path) -> None:
    prepare(data(source="yolo", path=str(folder), imgsz=32), tmp_path / "out")
    images = list((tmp_path / "out/images").rglob("*.jpg"))
    assert len(images) == 12
    assert {read_image(image).shape for image in images} == {(24, 32, 3)}
    label = next((tmp_path / "out/labels").rglob("*.txt"))
    assert label.read_text(encoding="utf-8") == "0 0.500000 0.500000 0.250000 0.500000\n"


def test_a_damaged_file_stops_and_leaves_the_old_data(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out"
    prepare(drawn(), out)
    before = fingerprint(out)
    (folder / "images/5.jpg").write_bytes((folder / "images/5.jpg").read_bytes()[:300])
    (folder / "labels/6.txt").write_text("0 1.7 0.5 0.2 0.2\n", encoding="utf-8")
    with pytest.raises(Failure) as caught:
        prepare(data(source="yolo", path=str(folder)), out)
    for message in ("images/5.jpg: truncated", "labels/6.txt: line 1: 1.7", "data.on_error: skip"):
        assert message in str(caught.value)
    assert fingerprint(out) == before
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_a_damaged_file_is_skipped_and_counted_if_on_error_is_skip(tmp_path: Path, folder: Path) -> None:
    (folder / "images/5.jpg").write_bytes((folder / "images/5.jpg").read_bytes()[:300])
    (folder / "labels/6.txt").write_text("7 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    summary = prepare(data(source="yolo", path=str(folder), on_error="skip"), tmp_path / "out").summary
    assert sum(counts["images"] for counts in summary["splits"].values()) == 10
    assert summary["skipped"] == {
        "count": 2,
        "files": {
            "labels/6.txt": "line 1: class 7, but the data set has classes 0 to 0",
            "images/5.jpg": "truncated or damaged JPEG",
        },
    }


def test_data_without_people_is_refused(tmp_path: Path, folder: Path) -> None:
    for label in (folder / "labels").iterdir():
        label.write_text("", encoding="utf-8")
    with pytest.raises(Failure, match=r"no picture in the data shows any of data\.classes: person"):
        prepare(data(source="yolo", path=str(folder)), tmp_path / "out")
    with pytest.raises(Failure, match=r"data\.classes: too few pictures show person \(0\)"):
        prepare(data(source="yolo", path=str(folder), background=True), tmp_path / "out")


def test_a_name_with_letters_of_any_script_is_accepted(tmp_path: Path, folder: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        (folder / f"{kind}/0.{suffix}").rename(folder / f"{kind}/été 日本.{suffix}")
    prepare(data(source="yolo", path=str(folder), imgsz=32), tmp_path / "out")
    assert len(list((tmp_path / "out/images").rglob("été 日本.jpg"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_a_problem_like_a_damaged_file(tmp_path: Path, folder: Path) -> None:
    (folder / "images/0.jpg").rename(folder / "images/caf\udce9.jpg")
    with pytest.raises(Failure, match=r"images/caf\\udce9\.jpg: its name is not UTF-8"):
        prepare(data(source="yolo", path=str(folder), background=True), tmp_path / "out")
    summary = prepare(data(source="yolo", path=str(folder), background=True, on_error="skip"), tmp_path / "out").summary
    assert summary["skipped"] == {"count": 1, "files": {"images/caf\\udce9.jpg": "its name is not UTF-8"}}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_kill_leaves_the_old_data_and_no_process(tmp_path: Path) -> None:
    """Killed while it writes: the old data is whole, the workers end, and the next run is not disturbed."""
    out = tmp_path / "out"
    old = prepare(drawn(), out)
    before = fingerprint(out)
    code = f"""
from pathlib import Path
from stages.data.preparation import prepare
from stages.params.schema import Data
if __name__ == "__main__":
    data = Data.model_validate({ {**VALUES, "split": {"train": 5000, "val": 50, "test": 50}}!r})
    prepare(data, Path({str(out)!r}), workers=2)
"""
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE)
    written = out.with_name("out.partial") / "images" / "train"
    deadline = time.monotonic() + 60
    while not (written.is_dir() and len(list(written.iterdir())) > 30):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # returns when no process holds its standard output any more
    assert fingerprint(out) == before
    assert prepare(drawn(), out) == old
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_the_sheet_of_samples_is_a_picture(tmp_path: Path) -> None:
    from stages.data.contact_sheet import sheet
    from stages.data.preparation import samples

    prepare(drawn(), tmp_path / "out")
    (tmp_path / "sheet.png").write_bytes(sheet(samples(tmp_path / "out"), ["person"]))
    assert read_image(tmp_path / "sheet.png").shape[0] > 4 * 150
    assert cv2.haveImageReader(str(tmp_path / "sheet.png"))


@pytest.mark.parametrize(("width", "longest", "shape"), [(640, 320, (240, 320, 3)), (640, 100, (75, 100, 3))])
def test_a_large_jpeg_is_reduced_to_what_a_whole_decode_would_give(
    tmp_path: Path, width: int, longest: int, shape: tuple[int, int, int]
) -> None:
    """It is decoded at a fraction of its size; the picture must be the same to the eye."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    scene = draw(random.Random(3), width)[0][: width * 3 // 4]
    (source / "labels").mkdir()
    for n in range(6):
        (source / f"images/{n}.jpg").write_bytes(encode(scene))
        (source / f"labels/{n}.txt").write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")
    prepare(data(source="yolo", path=str(source), imgsz=longest), tmp_path / "out", workers=1)
    reduced = read_image(next((tmp_path / "out/images").rglob("*.jpg")))
    wanted = cv2.resize(scene, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    assert reduced.shape == shape
    assert np.abs(reduced.astype(int) - wanted.astype(int)).mean() < 6
