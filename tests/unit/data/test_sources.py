"""The sources of pictures: the images that they return, leave out, count and refuse."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml as yaml_text

from stages.base.failures import BadParams, Failure
from stages.data import sources
from stages.data.labels import clip, read_labels
from stages.data.photographs import Photograph as FilePhotograph
from stages.data.photographs import unique_names
from stages.data.samples import BadSample, Collection
from stages.data.sources import coco, coco128, yolo
from stages.params import file as params_file
from stages.params.schema import Data, Params
from tests.helpers.data import data
from tests.helpers.photographs import make_zip, real
from tests.helpers.project import COCO128, SOURCE

Photograph = Callable[..., Path]


def splits(collection: Collection) -> dict[str, list[str]]:
    return {split: sorted(i.origin for i in collection.items if i.split == split) for split in ("train", "val", "test")}


# Labels ---------------------------------------------------------------------------------------------------------------


def test_labels_are_filtered_and_renumbered() -> None:
    text = "0 0.5 0.5 0.2 0.4\n2 0.1 0.1 0.1 0.1\n\n5 0.3 0.3 0.1 0.1\n"
    assert read_labels(text, 6, {2: 0, 0: 1}) == ((1, 0.5, 0.5, 0.2, 0.4), (0, 0.1, 0.1, 0.1, 0.1))


def test_an_outline_becomes_its_box() -> None:
    ((label, x, y, width, height),) = read_labels("0 0.1 0.2 0.5 0.2 0.3 0.8", 1, {0: 0})
    assert (label, x, y, width, height) == pytest.approx((0, 0.3, 0.5, 0.4, 0.6))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0.5 0.5 0.1 0.1", "line 1: class 7, but the data set has classes 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("0 1.7 0.5 0.1 0.1", "line 1: 1.7 is outside 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "nan is outside"),
        ("0 0.5 0.5 0.1", "3 numbers after the class"),
        ("0 0.5 0.5 0 0.1", "the box has no size"),
        ("person 0.5 0.5 0.1 0.1", "is not made of numbers"),
    ],
)
def test_a_malformed_label_is_named(line: str, message: str) -> None:
    with pytest.raises(BadSample) as caught:
        read_labels(line, 2, {0: 0})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 20, 40), (0.2, 0.3, 0.2, 0.4)),
        ((-10, -10, 20, 20), (0.05, 0.05, 0.1, 0.1)),
        ((90, 90, 50, 50), (0.95, 0.95, 0.1, 0.1)),
        ((120, 10, 20, 20), None),
        ((10, 10, 0, 20), None),
        ((10, 10, 0.5, 20), None),
        ((float("nan"), 10, 5, 5), None),
    ],
)
def test_coco_boxes_are_clipped(box: tuple[float, ...], expected: tuple[float, ...] | None) -> None:
    clipped = clip(*box, size=(100, 100))  # type: ignore[arg-type, call-arg, misc]
    assert clipped == (pytest.approx(expected) if expected else None)


def test_names_are_unique_and_readable() -> None:
    assert unique_names(["a/1.jpg", "b/1.jpg", "b/2.jpg", "2.PNG"]) == ["a_1", "b_1", "b_2", "2"]
    assert unique_names(["1.jpg", "1.png"]) == ["1", "1_png"]
    assert unique_names(["/data/a/1.jpg", "../b/1.jpg", ".hidden.jpg"]) == ["data_a_1", "b_1", "hidden"]


def test_names_that_are_too_long_for_a_file_are_cut_and_stay_unique() -> None:
    deep = "/".join(["x" * 45] * 7)
    names = unique_names([f"{deep}/a/1.jpg", f"{deep}/b/1.jpg"])
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= 200 for name in names)


# A folder in YOLO's layout --------------------------------------------------------------------------------------------


def collect_yolo(folder: Path, parts: dict[str, float] | None = None, background: bool = False) -> Collection:
    return yolo.collect(data(split=parts, source="yolo", path=str(folder), background=background))


def labelled(photograph: Photograph, image: str, label: str, text: str = "0 0.5 0.5 0.2 0.2\n") -> None:
    root = photograph(image)
    path = Path(str(root)[: -len(image)]) / label
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{split}/{n}.jpg", "labels/{split}/{n}.txt"),
        ("{split}/images/{n}.png", "{split}/labels/{n}.txt"),
        ("{split}/{n}.jpg", "{split}/{n}.txt"),
    ],
)
def test_own_splits_are_kept(tmp_path: Path, photograph: Photograph, image: str, label: str) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for n in range(count):
            labelled(photograph, image.format(split=split, n=n), label.format(split=split, n=n))
    by_split = splits(collect_yolo(tmp_path))
    assert {split: len(names) for split, names in by_split.items()} == {"train": 3, "val": 2, "test": 1}


def test_without_splits_a_seeded_shuffle_makes_them(tmp_path: Path, photograph: Photograph) -> None:
    for n in range(20):
        labelled(photograph, f"images/{n}.jpg", f"labels/{n}.txt")
    by_split = splits(collect_yolo(tmp_path))
    assert {split: len(names) for split, names in by_split.items()} == {"train": 14, "val": 3, "test": 3}
    assert by_split == splits(collect_yolo(tmp_path))


def test_a_missing_test_split_comes_from_train_and_not_from_val(tmp_path: Path, photograph: Photograph) -> None:
    for split, count in (("train", 20), ("val", 4)):
        for n in range(count):
            labelled(photograph, f"images/{split}/{n}.jpg", f"labels/{split}/{n}.txt")
    by_split = splits(collect_yolo(tmp_path))
    assert {split: len(names) for split, names in by_split.items()} == {"train": 17, "val": 4, "test": 3}
    assert all("/val/" in name for name in by_split["val"])


def test_split_in_the_params_overrules_the_folders_own(tmp_path: Path, photograph: Photograph) -> None:
    for split in ("train", "val"):
        for n in range(5):
            labelled(photograph, f"images/{split}/{n}.jpg", f"labels/{split}/{n}.txt")
    collection = collect_yolo(tmp_path, {"train": 2, "val": 2, "test": 4})
    assert {split: len(names) for split, names in splits(collection).items()} == {"train": 2, "val": 2, "test": 4}
    assert collection.counts == {"images in none of the splits": 2}


def test_data_yaml_names_classes_and_folders(tmp_path: Path, photograph: Photograph) -> None:
    (tmp_path / "data.yaml").write_text(
        "names: [dog, person]\ntrain: ../one/images\nval: [two, three]\ntest: four.txt\n", encoding="utf-8"
    )
    labelled(photograph, "one/images/a.jpg", "one/labels/a.txt", "1 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.1 0.1\n")
    labelled(photograph, "two/b.jpg", "two/b.txt", "1 0.5 0.5 0.2 0.2\n")
    labelled(photograph, "three/c.jpg", "three/c.txt", "1 0.5 0.5 0.2 0.2\n")
    labelled(photograph, "elsewhere/d.jpg", "elsewhere/d.txt", "1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "four.txt").write_text("elsewhere/d.jpg\n", encoding="utf-8")
    collection = collect_yolo(tmp_path)
    assert splits(collection) == {
        "train": ["one/images/a.jpg"],
        "val": ["three/c.jpg", "two/b.jpg"],
        "test": ["elsewhere/d.jpg"],
    }
    assert [len(item.read().boxes) for item in collection.items] == [1, 1, 1, 1]


def test_images_without_the_class_are_left_out_and_counted_or_kept(tmp_path: Path, photograph: Photograph) -> None:
    (tmp_path / "data.yaml").write_text("names: {0: person, 1: dog}\n", encoding="utf-8")
    for n in range(6):
        labelled(photograph, f"images/{n}.jpg", f"labels/{n}.txt")
    labelled(photograph, "images/dog.jpg", "labels/dog.txt", "1 0.5 0.5 0.2 0.2\n")
    photograph("images/nothing.jpg")
    collection = collect_yolo(tmp_path)
    assert len(collection.items) == 6
    assert collection.counts == {"images without any of data.classes": 2}
    assert len(collect_yolo(tmp_path, background=True).items) == 8


def test_bad_labels_are_problems_that_name_file_and_line(tmp_path: Path, photograph: Photograph) -> None:
    for n in range(6):
        labelled(photograph, f"images/{n}.jpg", f"labels/{n}.txt")
    labelled(photograph, "images/seven.jpg", "labels/seven.txt", "7 0.5 0.5 0.2 0.2\n")
    labelled(photograph, "images/far.jpg", "labels/far.txt", "0 0.5 0.5 0.2 0.2\n0 1.7 0.5 0.2 0.2\n")
    collection = collect_yolo(tmp_path)
    assert {problem.file: problem.reason for problem in collection.problems} == {
        "labels/far.txt": "line 2: 1.7 is outside 0 to 1; it must be a fraction of the image",
        "labels/seven.txt": "line 1: class 7, but the data set has classes 0 to 0",
    }
    assert len(collection.items) == 6


def test_a_damaged_image_is_a_problem_of_its_own(tmp_path: Path, photograph: Photograph) -> None:
    for n in range(6):
        labelled(photograph, f"images/{n}.jpg", f"labels/{n}.txt")
    whole = (tmp_path / "images/0.jpg").read_bytes()
    (tmp_path / "images/0.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images/1.jpg").write_bytes(b"")
    (tmp_path / "images/2.jpg").write_bytes(whole + b"more bytes behind the image")
    reasons = {}
    for item in collect_yolo(tmp_path).items:
        try:
            assert item.read().encoded.endswith(b"\xff\xd9"), "Ultralytics would rewrite the file"
        except BadSample as bad:
            reasons[item.origin] = str(bad)
    assert reasons == {"images/0.jpg": "truncated or damaged JPEG", "images/1.jpg": "an empty file"}


@real
@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_of_photographs_is_in_every_split(tmp_path: Path, seed: int) -> None:
    names = {number: {0: "person", 56: "chair"}.get(number, f"class {number}") for number in range(80)}
    description = {"path": str(COCO128), "names": names, "train": "images"}
    (tmp_path / "data.yaml").write_text(yaml_text.safe_dump(description), encoding="utf-8")
    parts: dict[str, float] = {"train": 43, "val": 10, "test": 10}
    group = data(split=parts, source="yolo", path=str(tmp_path), classes=["person", "chair"], seed=seed)
    items = yolo.collect(group).items
    assert {split: sum(item.split == split for item in items) for split in parts} == parts
    for split in parts:
        labels = [{box[0] for box in item.read().boxes} for item in items if item.split == split]
        assert set().union(*labels) == {0, 1}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "is not a folder"),
        (lambda folder: None, "no image in"),
        (lambda folder: (folder / "data.yaml").write_text("names: [dog]\n"), "data.classes: person not among"),
        (lambda folder: (folder / "data.yaml").write_text("names: [\n"), "not valid YAML"),
        (lambda folder: (folder / "data.yaml").write_text("names: {person: 0}\n"), "names in data.yaml must be"),
        (
            lambda folder: (folder / "data.yaml").write_text("names: {999999999: person}\n"),
            "names in data.yaml must be",
        ),
        (lambda folder: (folder / "data.yaml").write_text("names:\n"), "names in data.yaml must be"),
        (lambda folder: (folder / "data.yaml").write_text("names: [person]\ntrain: nowhere\n"), "does not exist"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_in_one_line(
    tmp_path: Path, prepare: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(Failure, match=message):
        collect_yolo(folder)


def test_a_box_that_leaves_its_image_is_clipped_and_counted(tmp_path: Path, photograph: Photograph) -> None:
    for number, x in enumerate((0.95, 0.5504, 0.5)):
        labelled(photograph, f"data/images/{number}.jpg", f"data/labels/{number}.txt", f"0 {x} 0.5 0.9 0.2\n")
    collection = collect_yolo(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    boxes = {item.origin: item.read().boxes[0] for item in collection.items}
    assert boxes["images/0.jpg"] == pytest.approx((0, 0.75, 0.5, 0.5, 0.2))
    assert boxes["images/1.jpg"] == (0, 0.5504, 0.5, 0.9, 0.2), "it reaches beyond the image by rounding only"
    assert collection.counts == {"boxes clipped to their image": 1}


def test_a_split_may_have_any_of_ultralytics_names(tmp_path: Path, photograph: Photograph) -> None:
    for name in ("a/1", "a/2", "b/3", "c/4"):
        labelled(photograph, f"data/images/{name}.jpg", f"data/labels/{name}.txt")
    (tmp_path / "data" / "data.yaml").write_text(
        "names: [person]\ntrain: images/a\nvalidation: images/b\ntest: images/c\n", encoding="utf-8"
    )
    assert splits(collect_yolo(tmp_path / "data"))["val"] == ["images/b/3.jpg"]


def test_labels_beside_the_images_are_found_in_a_folder_of_images(tmp_path: Path, photograph: Photograph) -> None:
    for number in range(6):
        labelled(photograph, f"images/street/{number}.jpg", f"images/street/{number}.txt")
    assert len(collect_yolo(tmp_path / "images" / "street").items) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only some users make links to folders")
def test_a_linked_folder_is_read_once(tmp_path: Path, photograph: Photograph) -> None:
    for number in range(6):
        name = f"{'elsewhere' if number else 'data'}/{number}"
        labelled(photograph, f"{name}.jpg", f"{name}.txt")
    for name in ("one", "two"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "data", target_is_directory=True)
    assert len(collect_yolo(tmp_path / "data").items) == 6


# A COCO annotation file -----------------------------------------------------------------------------------------------


@pytest.fixture
def instances(tmp_path: Path, photograph: Photograph) -> dict[str, Any]:
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(8)]
    for image in images:
        photograph(f"images/{image['file_name']}")
    boxes: list[dict[str, Any]] = [{"image_id": n, "category_id": 1, "bbox": [10, 10, 20, 30]} for n in range(7)]
    boxes += [
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        {"image_id": 0, "category_id": 1, "bbox": [50, 10, 40, 10], "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "bbox": [5, 5, 0, 9]},
        {"image_id": 7, "category_id": 18, "bbox": [5, 5, 9, 9]},
        {"image_id": 99, "category_id": 1, "bbox": [5, 5, 9, 9]},
    ]
    return {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    }


def collect_coco(folder: Path, content: Any, background: bool = False) -> Collection:
    file = folder / "instances.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    parts: dict[str, float] = {"train": 4, "val": 1, "test": 2}
    paths = {"path": str(folder / "images"), "annotations": str(file)}
    return coco.collect(data(split=parts, source="coco", background=background, **paths))


def test_coco_boxes_are_filtered_clipped_and_counted(tmp_path: Path, instances: dict[str, Any]) -> None:
    collection = collect_coco(tmp_path, instances)
    assert {split: len(names) for split, names in splits(collection).items()} == {"train": 4, "val": 1, "test": 2}
    assert collection.counts == {
        "boxes of crowds": 1,
        "boxes clipped to their image": 1,
        "boxes under a pixel": 1,
        "boxes of images that are not listed": 1,
        "images without any of data.classes": 1,
    }
    boxes = {item.origin: item.read().boxes for item in collection.items}
    assert boxes["0.jpg"] == ((0, 20 / 64, 25 / 48, 20 / 64, 30 / 48), (0, 57 / 64, 15 / 48, 14 / 64, 10 / 48))


def test_coco_images_of_another_size_than_annotated_are_problems(tmp_path: Path, instances: dict[str, Any]) -> None:
    instances["images"][3]["width"] = 640
    item = next(item for item in collect_coco(tmp_path, instances).items if item.origin == "3.jpg")
    with pytest.raises(BadSample, match="is 64x48, its annotations are for 640x48"):
        item.read()


def test_a_png_that_is_named_jpg_is_no_other_size_than_its_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(cv2.imencode(".png", np.zeros((601, 801, 3), np.uint8))[1].tobytes())
    photograph = FilePhotograph("a", "train", str(path), "a.jpg", (), (801, 601))
    assert photograph.read(320).pixels.shape == (601, 801, 3)


def test_two_categories_of_one_name_are_one_class(tmp_path: Path, instances: dict[str, Any]) -> None:
    instances["categories"].append({"id": 2, "name": "person"})
    instances["annotations"][6]["category_id"] = 2
    assert len(collect_coco(tmp_path, instances).items) == 7


def test_a_coco_category_that_is_not_declared_is_a_problem(tmp_path: Path, instances: dict[str, Any]) -> None:
    instances["annotations"].append({"image_id": 7, "category_id": 99, "bbox": [5, 5, 9, 9]})
    (problem,) = collect_coco(tmp_path, instances).problems
    assert (problem.file, problem.reason) == ("7.jpg", "category 99 is not among the categories")


@pytest.mark.parametrize("what", ["images", "categories"])
def test_a_number_that_is_used_twice_is_refused(tmp_path: Path, instances: dict[str, Any], what: str) -> None:
    """Two files were joined, and not numbered again."""
    instances[what].append({**instances[what][0], "file_name": "other.jpg", "name": "other"})
    with pytest.raises(Failure, match=f"the id {instances[what][0]['id']} is used twice"):
        collect_coco(tmp_path, instances)


@pytest.mark.parametrize(("name", "message"), [("6.jpg", "is listed twice"), ("7.gif", "is no image that is read")])
def test_a_coco_entry_that_is_no_image_of_its_own_is_a_problem(
    tmp_path: Path, instances: dict[str, Any], name: str, message: str
) -> None:
    instances["images"][7]["file_name"] = name
    instances["annotations"].append({"image_id": 7, "category_id": 1, "bbox": [5, 5, 9, 9]})
    (problem,) = collect_coco(tmp_path, instances).problems
    assert message in problem.reason


def test_a_coco_file_name_cannot_lead_out_of_the_folder(tmp_path: Path, instances: dict[str, Any]) -> None:
    instances["images"][7]["file_name"] = "../../secret.jpg"
    instances["annotations"].append({"image_id": 7, "category_id": 1, "bbox": [5, 5, 9, 9]})
    collection = collect_coco(tmp_path, instances)
    assert [problem.reason for problem in collection.problems] == ["leads out of data.path"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must have images, annotations and categories"),
        (
            {
                "images": [{"id": 1, "file_name": "1.jpg", "width": 1e999, "height": 1}],
                "annotations": [],
                "categories": [{"id": 1, "name": "person"}],
            },
            "instances format",
        ),
        ({"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "person"}]}, "instances format"),
        ({"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}, "person not among"),
    ],
)
def test_a_file_that_is_not_coco_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(Failure, match=message):
        collect_coco(tmp_path, content)


# COCO128 --------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco128, "CACHE", tmp_path / "cache")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Serve the test's folder over HTTP on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda name: f"http://127.0.0.1:{server.server_port}/{name}"
        server.shutdown()


def test_the_committed_digests_are_of_61_images_and_their_labels() -> None:
    names = list(coco128.expected())
    assert len(names) == 122
    images = {Path(name).stem for name in names if name.startswith("images/train2017/") and name.endswith(".jpg")}
    labels = {Path(name).stem for name in names if name.startswith("labels/train2017/") and name.endswith(".txt")}
    assert images == labels
    assert len(images) == 61


@real
def test_coco128_gives_40_10_10_images_of_people(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "local.zip")
    collection = coco128.collect(data(source="coco128", zip=str(archive)))
    assert {split: len(names) for split, names in splits(collection).items()} == {"train": 40, "val": 10, "test": 10}
    assert all(item.read().boxes for item in collection.items)
    again = coco128.collect(data(source="coco128", zip=str(archive)))
    assert splits(again) == splits(collection)


@real
def test_coco128_is_fetched_once(tmp_path: Path, served: Callable[[str], str]) -> None:
    archive = make_zip(tmp_path / "coco128.zip")
    first = coco128.collect(data(source="coco128", url=served("coco128.zip")))
    archive.unlink()
    assert splits(coco128.collect(data(source="coco128", url=served("coco128.zip")))) == splits(first)


@real
def test_an_archive_that_differs_is_refused_and_fetched_again(tmp_path: Path, served: Callable[[str], str]) -> None:
    name = next(name for name in coco128.expected() if name.endswith(".jpg"))
    with zipfile.ZipFile(tmp_path / "coco128.zip", "w") as archive:
        archive.writestr(f"coco128/{name}", b"another picture")
    with pytest.raises(Failure, match=rf"{Path(name).name} (differs|is missing)"):
        coco128.collect(data(source="coco128", url=served("coco128.zip")))
    make_zip(tmp_path / "coco128.zip")
    assert len(coco128.collect(data(source="coco128", url=served("coco128.zip"))).items) == 60


@pytest.mark.parametrize(
    "member", ["../outside.txt", "/outside.txt", "coco128/../../outside.txt", "C:\\outside.txt", "C:outside.txt"]
)
def test_an_archive_with_a_path_that_leads_out_is_refused(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(member, "x")
    with pytest.raises(Failure, match="leads out of the folder"):
        coco128.unpack(tmp_path / "bad.zip", tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.txt"))
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 half of one"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(Failure, match="is not a whole zip file"):
        coco128.unpack(tmp_path / "bad.zip", tmp_path / "cache")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/coco128.zip", "missing"])
def test_without_the_archive_the_line_says_what_to_do(
    tmp_path: Path, served: Callable[[str], str], address: str
) -> None:
    url = served("nothing.zip") if address == "missing" else address
    with pytest.raises(Failure) as caught:
        coco128.collect(data(source="coco128", url=url))
    for message in (url, "cannot be fetched", "set data.zip", "data.source: synthetic"):
        assert message in str(caught.value)


def test_a_local_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"data\.zip: .*nowhere\.zip is not a file"):
        coco128.collect(data(source="coco128", zip=str(tmp_path / "nowhere.zip")))


# Every source ---------------------------------------------------------------------------------------------------------


class Lake:
    """A new source, which is not a module of the project."""

    CLASSES: tuple[str, ...] | None = ("fish",)
    NEEDS: dict[str, str] = {"path": "the folder of the lake"}  # noqa: RUF012
    IMGSZ: int | None = 96

    def collect(self, data: Data) -> Collection:
        return Collection([], counts={data.path or "": 1})


def test_a_new_source_is_one_entry_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.SOURCES, "lake", Lake())
    lake = data(source="lake", path="deep", classes=["fish"])
    sources.check_source(params(lake))
    assert sources.collect(lake).counts == {"deep": 1}
    assert sources.longest_side(lake) == 96
    assert sources.longest_side(lake.model_copy(update={"imgsz": 32})) == 32
    for changes, message in (
        ({"path": None}, "params.yaml: data: path is null; source lake needs the folder of the lake"),
        (
            {"classes": ("person",)},
            "data: classes ['person'] cannot come from source lake: it holds [fish]",
        ),
        ({"source": "sea"}, "data.source: 'sea' is not allowed; it must be synthetic, coco128, yolo, coco or lake"),
    ):
        with pytest.raises(BadParams) as caught:
            sources.check_source(params(lake.model_copy(update=changes)))
        assert message in str(caught.value)


def params(group: Data) -> Params:
    return params_file.load(SOURCE / "params.yaml").model_copy(update={"data": group})
