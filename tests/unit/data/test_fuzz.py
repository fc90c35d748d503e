"""Bad data from a seeded fuzzer: each is one line that names it, or is left out and counted, and nothing else happens.

FUZZ_CASES in the environment is the number of cases of each kind; benchmarks do not time this.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.base.failures import Failure
from stages.data import preparation
from stages.data.labels import prepared_boxes
from stages.data.preparation import prepare
from stages.data.samples import SPLITS
from stages.data.sources import coco128
from stages.params.schema import Data
from tests.helpers import data as group

CASES = int(os.environ.get("FUZZ_CASES", "100"))

Test = TypeVar("Test", bound=Callable[..., None])


def fuzzed(test: Test) -> Test:
    """Give a test the number of cases. The cases are the same each time."""
    configured: Test = settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
    )(test)
    return configured


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and write the pictures in this process: a pool takes seconds to start."""
    monkeypatch.setattr(preparation, "_in_processes", lambda work, batches, workers: map(work, batches))


# Strategies -----------------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.floats(0, 1).map(str),
    st.sampled_from(["0", "1", "0.5", "-0.1", "1.5", "nan", "inf", "-inf", "1e400", "0x1", "1_0", "٣", "", "person"]),
)
lines = st.one_of(
    st.tuples(
        st.integers(-1, 3), st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.01, 0.3), st.floats(0.01, 0.3)
    ).map(lambda values: " ".join(map(str, values))),
    st.lists(numbers, max_size=12).map(" ".join),
    st.text(max_size=20),
)
labels = st.one_of(
    st.just(b"0 0.5 0.5 0.4 0.4\n"),
    st.lists(lines, max_size=4).map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.none(),
)
names = st.one_of(
    st.integers(0, 9).map(lambda number: f"picture {number}"),
    st.sampled_from(["é", ".hidden", "a.b", "CON", "x" * 80, "images", "train"]),
)
suffixes = st.sampled_from([".png", ".jpg", ".jpeg", ".bmp", ".tif", ".webp", ".gif", ".txt", ".JPG", ""])


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Draw the bytes of an image file: of some format and depth, whole or damaged, or no image at all."""
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    pixels = np.full((height, width, 3), draw(st.integers(0, 255)), np.uint8)
    picture = Image.fromarray(pixels)
    kind = draw(st.sampled_from(["png", "jpeg", "bmp", "tiff", "webp", "gif", "16 bit", "cmyk", "palette", "exif",
                                 "animated", "bomb", "noise", "empty"]))  # fmt: skip
    stream = io.BytesIO()
    if kind == "16 bit":
        Image.fromarray(np.full((height, width), 40_000, np.uint16)).save(stream, "png")
    elif kind == "cmyk":
        picture.convert("CMYK").save(stream, "jpeg")
    elif kind == "palette":
        picture.convert("P").save(stream, "png")
    elif kind == "exif":
        exif = Image.Exif()
        exif[274] = draw(st.integers(0, 9))  # the orientation, also one that does not exist
        picture.save(stream, "jpeg", exif=exif)
    elif kind == "animated":
        picture.save(stream, "webp", save_all=True, append_images=[picture, picture])
    elif kind == "bomb":
        return bomb(draw(st.sampled_from([30_000, 50_000, 2**31 - 1])))
    elif kind == "noise":
        return draw(st.binary(max_size=60))
    elif kind != "empty":
        picture.save(stream, kind)
    encoded = stream.getvalue()
    cut = draw(st.integers(0, len(encoded)))
    return draw(st.sampled_from([encoded, encoded, encoded, encoded[:cut], encoded + b"more", encoded[cut:]]))


def bomb(side: int) -> bytes:
    """Return the bytes of a PNG whose header states so many pixels on each side, with the data of few."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "png")
    encoded = bytearray(stream.getvalue())
    encoded[16:24] = side.to_bytes(4, "big") * 2
    encoded[29:33] = zlib.crc32(bytes(encoded[12:29])).to_bytes(4, "big")
    return bytes(encoded)


entries = st.one_of(
    st.sampled_from(["images/train", "images", "../outside", "/dev/zero", "/", "list.txt", "missing", ".", "", "a\0b"]),
    st.lists(st.sampled_from(["images/train", "images/val", "missing"]), max_size=2),
    st.integers(), st.none(), st.booleans(), st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)  # fmt: skip
descriptions = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "names": st.one_of(
                st.just(["person", "chair"]), st.just({0: "person", 1: "chair"}),
                st.lists(st.text(max_size=5), max_size=3),
                st.dictionaries(st.one_of(st.integers(-1, 10**7), st.text(max_size=3)), st.text(max_size=5)),
                entries,
            ),
            "path": entries, "train": entries, "val": entries, "test": entries, "nc": entries,
        },
    ).map(lambda content: yaml.safe_dump(content, allow_unicode=True).encode()),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.just(b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (letter + 1, letter + 1, b",".join([b"*%c" % letter] * 9)) for letter in range(97, 106)
    ) + b"names: *j\n"),
)  # fmt: skip
choices = st.fixed_dictionaries({
    "on_error": st.sampled_from(["stop", "skip", "skip"]),
    "classes": st.sampled_from([("person",), ("person",), ("person", "chair")]),
    "imgsz": st.sampled_from([None, 32, 64]),
    "background": st.booleans(),
    "split": st.sampled_from([None, {"train": 0.6, "val": 0.2, "test": 0.2}, {"train": 2, "val": 1, "test": 1}]),
})  # fmt: skip


# The checks -----------------------------------------------------------------------------------------------------------


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def values(choice: dict[str, Any], **others: str) -> Data:
    split = choice["split"] or dict.fromkeys(SPLITS)
    return group.data(**{**choice, **others, "split": split})


def check(data: Data, root: Path) -> None:
    """Prepare the data, and check that this is a whole data set, or one line and no file."""
    out = root / "out" / "prepared"
    out.parent.mkdir()
    before = everything(root)
    try:
        summary = prepare(data, out).summary
    except Failure as failure:
        assert str(failure).strip()
        assert everything(root) == before, "a refused data set leaves files behind"
        return
    after = {path for path in everything(root) if out not in (path, *path.parents)}
    assert after == before, "a file was written outside"
    for split in SPLITS:
        pictures = sorted((out / "images" / split).iterdir())
        assert len(pictures) == summary["splits"][split]["images"] > 0
        for picture in pictures:
            assert all(0 <= value <= 1 for box in prepared_boxes(picture) for value in box[1:])
            with Image.open(picture) as opened:
                assert min(opened.size) > 1
    assert summary["skipped"]["count"] == 0 or data.on_error == "skip"


def everything(root: Path) -> set[Path]:
    return set(root.rglob("*"))


@fuzzed
@given(
    st.lists(st.tuples(names, suffixes, images(), labels), min_size=1, max_size=8),
    st.integers(0, 6), descriptions, choices,
)  # fmt: skip
def test_a_folder_in_yolos_layout(
    files: list[tuple[str, str, bytes, bytes | None]], good: int, description: bytes | None, choice: dict[str, Any]
) -> None:
    with folder() as root:
        source = root / "source"
        (source / "images").mkdir(parents=True)
        (source / "labels").mkdir()
        (source / "list.txt").write_text("images/good 0.png\n/dev/zero\n../outside\n", encoding="utf-8")
        whole = (b"0 0.5 0.5 0.4 0.4\n1 0.3 0.3 0.2 0.2\n", ".png", encoded_picture())
        files = [*files, *((f"good {number}", whole[1], whole[2], whole[0]) for number in range(good))]
        for name, suffix, encoded, label in files:
            (source / "images" / f"{name}{suffix}").write_bytes(encoded)
            if label is not None:
                (source / "labels" / f"{name}.txt").write_bytes(label)
        if description is not None:
            (source / "data.yaml").write_bytes(description)
        check(values(choice, source="yolo", path=str(source)), root)


def encoded_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (48, 40), "grey").save(stream, "png")
    return stream.getvalue()


scalars = st.one_of(
    st.integers(-1, 9), st.floats(), st.text(max_size=6), st.none(), st.booleans(), st.just(10**400), st.just([]),
)  # fmt: skip
paths = st.sampled_from(
    ["0.png", "1.png", "2.png", "3.png", "../0.png", "/etc/passwd", "a\0b.png", "missing.png", "", "0.gif"]
)
coco_files = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries(
                {"id": st.one_of(st.integers(0, 5), scalars), "file_name": st.one_of(paths, scalars),
                 "width": st.one_of(st.just(48), scalars), "height": st.one_of(st.just(40), scalars)},
            ),
            max_size=6,
        ),
        "annotations": st.lists(
            st.fixed_dictionaries(
                {"image_id": st.one_of(st.integers(0, 5), scalars), "category_id": st.one_of(st.just(1), scalars),
                 "bbox": st.one_of(st.lists(st.one_of(st.integers(-5, 60), st.floats()), min_size=3, max_size=5),
                                   scalars)},
                optional={"iscrowd": scalars},
            ),
            max_size=8,
        ),
        "categories": st.one_of(
            st.just([{"id": 1, "name": "person"}, {"id": 2, "name": "chair"}]),
            st.lists(st.fixed_dictionaries({"id": scalars, "name": scalars}), max_size=2),
        ),
    }
)  # fmt: skip
contents = st.one_of(
    coco_files.map(lambda content: json.dumps(content).encode()),
    st.sampled_from([b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"images": 1, "annotations": 2, "categories": 3}']),
    st.binary(max_size=40),
)


@fuzzed
@given(contents, choices)
def test_an_annotation_file_of_coco(content: bytes, choice: dict[str, Any]) -> None:
    with folder() as root:
        source = root / "source"
        source.mkdir()
        for number in range(4):
            (source / f"{number}.png").write_bytes(encoded_picture())
        (root / "annotations.json").write_bytes(content)
        check(values(choice, source="coco", path=str(source), annotations=str(root / "annotations.json")), root)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a zip file with unsafe names, links, doubles, large members, or damage."""
    stream = io.BytesIO()
    members = draw(
        st.lists(
            st.sampled_from(["coco128/images/train2017/000000000009.jpg", "../evil", "/evil", "a/../../evil", "c:evil",
                             "link", "..\\evil", "coco128/", "x" * 300]),
            max_size=4,
        )
    )  # fmt: skip
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in members:
            member = zipfile.ZipInfo(name)
            if name == "link":
                member.external_attr = 0o120777 << 16
            archive.writestr(member, draw(st.sampled_from([b"", b"content", bytes(2_000_000)])))
    content = bytearray(stream.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@fuzzed
@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(archives())
def test_an_archive_that_is_not_coco128_is_one_line_and_unpacks_nothing(content: bytes) -> None:
    with folder() as root:
        (root / "coco128.zip").write_bytes(content)
        cache = root / "cache"
        with pytest.raises(Failure) as raised:
            coco128.unpack(root / "coco128.zip", cache)
        assert str(root / "coco128.zip") in str(raised.value)
        assert {path.name for path in everything(root)} <= {"coco128.zip", "cache", "coco128.lock"}
