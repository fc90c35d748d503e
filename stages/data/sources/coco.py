"""A COCO annotation file and its folder of images."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from stages.base.failures import Failure
from stages.data.images import SUFFIXES
from stages.data.labels import clip
from stages.data.photographs import Photograph, place
from stages.data.samples import Box, Collection, Problem
from stages.data.splits import FRACTIONS, assign


def collect(
    folder: Path,
    annotations: Path,
    classes: tuple[str, ...],
    parts: dict[str, float] | None,
    seed: int,
    background: bool,
) -> Collection:
    """Find the images of an annotation file and their boxes.

    Boxes of crowds are left out, boxes that reach beyond the image are clipped, boxes of which under a pixel is left
    are left out; all of it is counted.

    Args:
        folder: Where the images are, by the names in the annotation file.
        annotations: The file, in COCO's instances format.
        classes: What to keep; the place in this tuple is the class in the prepared data.
        parts: Images or fractions of each split; None is 0.7, 0.15 and 0.15.
        seed: Of the shuffle that gives images to splits.
        background: Whether images without any of the classes are kept.

    Raises:
        Failure: A file is not there or is not in the format, or a class is lacking.
    """
    if not folder.is_dir():
        raise Failure(f"data.path: {folder} is not a folder")
    content = _content(annotations)
    try:
        categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        found = Collection([])
        boxes = _boxes(content["annotations"], images, _kept(categories, classes), found)
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
                found.problems.append(Problem(origin, "leads out of data.path"))
            elif path.suffix.lower() not in SUFFIXES:
                found.problems.append(Problem(origin, f"is no image that is read: {', '.join(sorted(SUFFIXES))}"))
            elif number in unknown:
                found.problems.append(Problem(origin, f"category {unknown[number]} is not among the categories"))
            elif origin in seen:
                found.problems.append(Problem(origin, "is listed twice"))
            elif not boxes[number] and not background:
                found.count("images without any of data.classes")
            else:
                photographs.append(Photograph("", "", str(path), origin, tuple(dict.fromkeys(boxes[number])), size))
            seen.add(origin)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Failure(
            f"data.annotations: {annotations} is not in COCO's instances format: {type(error).__name__}: {error}"
        ) from error
    if not photographs:
        return found
    found.items = place(photographs, assign([p.origin for p in photographs], parts or FRACTIONS, seed))
    found.count("images in none of the splits", len(photographs) - len(found.items))
    return found


def _content(annotations: Path) -> dict[str, Any]:
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
    names = list(categories.values())
    lacking = [name for name in classes if name not in names]
    if lacking:
        raise Failure(f"data.classes: {', '.join(lacking)} not among the categories: {', '.join(names)[:200]}")
    return {number: classes.index(name) for number, name in categories.items() if name in classes}


def _boxes(
    annotations: list[dict[str, Any]], images: dict[Any, dict[str, Any]], kept: dict[int, int], found: Collection
) -> defaultdict[Any, list[Box]]:
    """The boxes of each image by its id; what is left out is counted in `found`."""
    boxes: defaultdict[Any, list[Box]] = defaultdict(list)
    for annotation in annotations:
        label = kept.get(int(annotation["category_id"]))
        if label is None:
            continue
        image = images.get(annotation["image_id"])
        if image is None:
            found.count("boxes of images that are not listed")
            continue
        if annotation.get("iscrowd"):
            found.count("boxes of crowds")
            continue
        x, y, width, height = (float(value) for value in annotation["bbox"])
        size = (int(image["width"]), int(image["height"]))
        box = clip(x, y, width, height, size)
        if box is None:
            found.count("boxes under a pixel")
            continue
        if x < 0 or y < 0 or x + width > size[0] or y + height > size[1]:
            found.count("boxes clipped to their image")
        boxes[annotation["image_id"]].append((label, *box))
    return boxes
