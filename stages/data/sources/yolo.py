"""Source `yolo`: a folder in YOLO's layout, with a text file of labels for each image.

The folder may have its own splits: a data.yaml that names them, or `images/train` and `labels/train`, or `train/images`
and `train/labels`. It may also have none: `images` and `labels`, or everything in one folder.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import yaml

from stages.base.failures import Failure
from stages.base.paths import locate
from stages.data.images import image_files
from stages.data.labels import inside, label_file, read_labels
from stages.data.photographs import Photograph, assign_splits, place
from stages.data.samples import SPLITS, BadSample, Collection, Problem
from stages.data.splits import FRACTIONS
from stages.params.schema import Data

CLASSES: tuple[str, ...] | None = None
NEEDS: dict[str, str] = {"path": "the folder of the images"}
IMGSZ: int | None = None

MOST_CLASSES = 100_000

_OTHER_NAMES = {"val": ("val", "valid", "validation"), "train": ("train",), "test": ("test",)}


def collect(data: Data) -> Collection:
    """Return the images of a folder with their labels and splits.

    If `data.split` is null, the images keep the folder's own splits; a split that is missing is taken from the train
    images. An image without a label file shows no object.

    Args:
        data: `path` is the folder; a relative one is in the main repository. `classes` are the classes to keep;
            the position in it is the number in the prepared data. `seed` is of the shuffle that assigns images to
            splits. `background` keeps the images without any of the classes.

    Raises:
        Failure: The folder does not exist, has no image, or lacks a class.
    """
    folder, classes = locate(data.path or ""), data.classes
    if not folder.is_dir():
        raise Failure(f"data.path: {folder} is not a folder")
    description = _description(folder)
    names = _names(description, classes)
    kept = {number: classes.index(name) for number, name in enumerate(names) if name in classes}

    collection = Collection([])
    photographs: list[Photograph] = []
    own: dict[str, str] = {}
    seen: set[str] = set()
    for split, image in _images(folder, description):
        if str(image) in seen:
            continue
        seen.add(str(image))
        origin = _origin(image, folder)
        label = label_file(image)
        try:
            read = read_labels(label.read_text(encoding="utf-8"), len(names), kept)
            boxes = tuple(map(inside, read))
            collection.count("boxes clipped to their image", sum(map(operator.ne, read, boxes)))
        except FileNotFoundError:
            boxes = ()
        except BadSample as bad:
            collection.problems.append(Problem(_origin(label, folder), str(bad)))
            continue
        except (OSError, UnicodeDecodeError) as error:
            collection.problems.append(Problem(_origin(label, folder), f"cannot be read: {error}"))
            continue
        if not boxes and not data.background:
            collection.count("images without any of data.classes")
            continue
        photographs.append(Photograph("", "", str(image), origin, boxes))
        if split:
            own[origin] = split
    if not seen:
        raise Failure(f"data.path: no image in {folder}")
    if not photographs:
        return collection
    collection.items = place(photographs, _splits(photographs, own, data))
    collection.count("images in none of the splits", len(photographs) - len(collection.items))
    return collection


def _origin(path: Path, folder: Path) -> str:
    """Return the path of a file for messages: the path in the folder of the data set, if the file is in that folder."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:  # data.yaml may name folders beside its own
        return PurePath(path).as_posix()


def _description(folder: Path) -> dict[str, Any]:
    """Return the content of the folder's data.yaml, or an empty mapping if there is none."""
    file = next(
        (folder / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (folder / name).is_file()), None
    )
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Failure(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise Failure(f"{file}: must be a mapping with names, train, val and test")
    return content


def _names(description: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    """Return the class names by number: those of data.yaml, or `classes` if data.yaml has none."""
    names = description.get("names", list(classes))
    if isinstance(names, dict) and all(type(key) is int and 0 <= key < MOST_CLASSES for key in names):
        names = [names.get(number, f"class {number}") for number in range(max(names, default=-1) + 1)]
    if not isinstance(names, list):
        raise Failure("data.path: names in data.yaml must be a list of names, or a mapping from numbers to names")
    if not all(isinstance(name, str | int | float) for name in names):
        raise Failure("data.path: each of names in data.yaml must be a name")
    names = [str(name) for name in names]
    lacking = [name for name in classes if name not in names]
    if lacking:
        raise Failure(f"data.classes: {', '.join(lacking)} not among the classes of the data: {', '.join(names)[:200]}")
    return names


def _images(folder: Path, description: dict[str, Any]) -> Iterator[tuple[str | None, Path]]:
    """Yield every image and the split that the folder assigns to it, or None."""
    named = {
        split: next((description[name] for name in _OTHER_NAMES[split] if description.get(name)), None)
        for split in SPLITS
    }
    if any(named.values()):
        root = description.get("path") or "."
        if not isinstance(root, str):
            raise Failure("data.path: path in data.yaml must be a folder")
        base = folder / root
        for split, places in named.items():
            for entry in places if isinstance(places, list) else [places] if places else []:
                if not isinstance(entry, str):
                    raise Failure(f"data.path: {split} in data.yaml must be a folder, a file, or a list of these")
                yield from ((split, image) for image in _listed(base, entry, folder))
        return
    for image in image_files(folder):
        yield _split_of(image.relative_to(folder)), image


def _listed(base: Path, entry: str, folder: Path) -> list[Path]:
    """Return the images of one entry of data.yaml: a folder, or a text file with a path on each line."""
    candidates = (base / entry, folder / entry, folder / entry.replace("../", ""))  # Roboflow writes ../train/images
    try:
        target = next((path for path in candidates if path.exists()), None)
        if target is None:
            raise Failure(f"data.path: {entry!r}, named in the data.yaml of {folder}, does not exist")
        if target.is_dir():
            return image_files(target)
        if not target.is_file():  # a device would never end
            raise Failure(f"data.path: {entry!r}, in the data.yaml of {folder}, is no folder and no list of images")
        lines = target.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null character
        raise Failure(
            f"data.path: {entry!r}, in the data.yaml of {folder}, is no folder and no list of images"
        ) from error
    return [target.parent / line.strip() for line in lines if line.strip()]


def _split_of(image: Path) -> str | None:
    """Return the split that the folders of an image name, if they name one."""
    folders = [part.lower() for part in image.parts[:-1]]
    return next((split for split, names in _OTHER_NAMES.items() if any(name in folders for name in names)), None)


def _splits(photographs: list[Photograph], own: dict[str, str], data: Data) -> dict[str, str]:
    """Return the split of each image: by `data.split`, or else the folder's own, completed from its train images."""
    parts = data.split.parts()
    if parts is not None or not own:
        return assign_splits(photographs, data, parts or FRACTIONS)
    splits = {photograph.origin: own[photograph.origin] for photograph in photographs if photograph.origin in own}
    lacking = {split: FRACTIONS[split] for split in SPLITS if split not in splits.values()}
    if "train" in lacking:
        raise Failure("data.path: the folder's own splits leave no usable train image")
    if lacking:
        train = [photograph for photograph in photographs if splits.get(photograph.origin) == "train"]
        splits.update(assign_splits(train, data, {"train": 1 - sum(lacking.values()), **lacking}))
    return splits
