"""Source `coco`: an annotation file in COCO's instances format, and its folder of images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.base.paths import locate
from stages.data.images import SUFFIXES
from stages.data.labels import clip
from stages.data.photographs import Photograph, assign_splits, place
from stages.data.samples import Box, Collection, Problem
from stages.data.splits import FRACTIONS
from stages.params.schema import Data

CLASSES: tuple[str, ...] | None = None
NEEDS: dict[str, str] = {"path": "the folder of the images", "annotations": "the annotation file"}
IMGSZ: int | None = None


def collect(data: Data) -> Collection:
    """Return the images of an annotation file with their boxes.

    A box that reaches beyond its image is clipped. Boxes of crowds, and boxes of less than a pixel, are left out. All
    of them are counted. If `data.split` is null, the splits have 0.7, 0.15 and 0.15 of the images.

    Args:
        data: `path` is the folder and `annotations` the file; relative ones are in the main repository.
            `classes` are the categories to keep; the position in it is the number in the prepared data. `seed` is of
            the shuffle that assigns images to splits. `background` keeps the images without any of the classes.

    Raises:
        Failure: The folder or the file does not exist, the file is not in the format, or it lacks a class.
    """
    folder, annotations = locate(data.path or ""), locate(data.annotations or "")
    if not folder.is_dir():
        raise Failure(f"data.path: {folder} is not a folder")
    content = _content(annotations)
    try:
        categories = _by_id({int(category["id"]): str(category["name"])} for category in content["categories"])
        images = _by_id({image["id"]: image} for image in content["images"])
        collection = Collection([])
        boxes = _boxes(content["annotations"], images, _kept(categories, data.classes), collection)
        photographs = []
        unknown = {
            a["image_id"]: a["category_id"] for a in content["annotations"] if a["category_id"] not in categories
        }
        seen: set[str] = set()
        for number, image in images.items():
            origin = str(image["file_name"])
            size = (int(image["width"]), int(image["height"]))
            path = folder / origin
            if not path.resolve().is_relative_to(folder.resolve()):
                collection.problems.append(Problem(origin, "leads out of data.path"))
            elif path.suffix.lower() not in SUFFIXES:
                collection.problems.append(Problem(origin, f"is no image that is read: {', '.join(sorted(SUFFIXES))}"))
            elif number in unknown:
                collection.problems.append(Problem(origin, f"category {unknown[number]} is not among the categories"))
            elif origin in seen:
                collection.problems.append(Problem(origin, "is listed twice"))
            elif not boxes[number] and not data.background:
                collection.count("images without any of data.classes")
            else:
                photographs.append(Photograph("", "", str(path), origin, tuple(dict.fromkeys(boxes[number])), size))
            seen.add(origin)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Failure(
            f"data.annotations: {annotations} is not in COCO's instances format: {type(error).__name__}: {error}"
        ) from error
    if not photographs:
        return collection
    splits = assign_splits(photographs, data, data.split.parts() or FRACTIONS)
    collection.items = place(photographs, splits)
    collection.count("images in none of the splits", len(photographs) - len(collection.items))
    return collection


def _by_id(entries: Iterable[dict[Any, Any]]) -> dict[Any, Any]:
    """Join mappings of one entry each. Files that were joined by hand may use a number twice.

    Raises:
        ValueError: Two entries have the same id.
    """
    joined: dict[Any, Any] = {}
    for entry in entries:
        for number, value in entry.items():
            if number in joined:
                raise ValueError(f"the id {number} is used twice")
            joined[number] = value
    return joined


def _content(annotations: Path) -> dict[str, Any]:
    """Return the content of an annotation file."""
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"data.annotations: {annotations}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Failure(f"data.annotations: {annotations} is not JSON: {error}") from error
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise Failure(f"data.annotations: {annotations} must have images, annotations and categories")
    return content


def _kept(categories: dict[int, str], classes: tuple[str, ...]) -> dict[int, int]:
    """Return the number in the prepared data of each category that is kept."""
    names = list(categories.values())
    lacking = [name for name in classes if name not in names]
    if lacking:
        raise Failure(f"data.classes: {', '.join(lacking)} not among the categories: {', '.join(names)[:200]}")
    return {number: classes.index(name) for number, name in categories.items() if name in classes}


def _boxes(
    annotations: list[dict[str, Any]], images: dict[Any, dict[str, Any]], kept: dict[int, int], collection: Collection
) -> defaultdict[Any, list[Box]]:
    """Return the boxes of each image by its id. Boxes that are left out or clipped are counted in `collection`."""
    boxes: defaultdict[Any, list[Box]] = defaultdict(list)
    for annotation in annotations:
        label = kept.get(int(annotation["category_id"]))
        if label is None:
            continue
        image = images.get(annotation["image_id"])
        if image is None:
            collection.count("boxes of images that are not listed")
            continue
        if annotation.get("iscrowd"):
            collection.count("boxes of crowds")
            continue
        x, y, width, height = (float(value) for value in annotation["bbox"])
        size = (int(image["width"]), int(image["height"]))
        box = clip(x, y, width, height, size)
        if box is None:
            collection.count("boxes under a pixel")
            continue
        if x < 0 or y < 0 or x + width > size[0] or y + height > size[1]:
            collection.count("boxes clipped to their image")
        boxes[annotation["image_id"]].append((label, *box))
    return boxes
