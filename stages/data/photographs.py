"""Photographs in files: read them, and name them in the prepared data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from stages.data.images import END_OF_JPEG, START_OF_JPEG, check_tiff, decode, with_end_mark
from stages.data.samples import BadSample, Box, Picture
from stages.data.splits import assign
from stages.params.schema import Data

LONGEST_NAME = 200  # bytes: a file system takes 255, with the suffix


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image file with its boxes. It is small, because a data set has one for each image.

    Attributes:
        name: The file name in the prepared data, without suffix.
        split: train, val or test.
        path: The file, as text, because a Path takes several times the memory.
        origin: The path of the file in the folder of the data set, which messages name.
        boxes: The objects in the image.
        size: The (width, height) in pixels that the annotations state, which `read` checks. None if they state none.
    """

    name: str
    split: str
    path: str
    origin: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None

    def read(self, longest: int | None = None) -> Picture:
        """Read and decode the file. The orientation in EXIF is applied, as the trainer does.

        A JPEG of at least twice the needed size is decoded at a half, a quarter or an eighth of its size, which is
        faster than to decode all of it and then reduce it.
        """
        path = Path(self.path)
        try:
            if path.exists() and not path.is_file():  # a device would never end
                raise BadSample("is not a file")
            encoded = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a path with a null character
            raise BadSample(getattr(error, "strerror", None) or "cannot be read") from error
        if not encoded:
            raise BadSample("an empty file")
        suffix = path.suffix.lower()
        is_jpeg = encoded.startswith(START_OF_JPEG)  # whatever its name says
        if suffix in (".tif", ".tiff"):
            check_tiff(encoded)
        if is_jpeg and not encoded.endswith(END_OF_JPEG):
            encoded = with_end_mark(encoded)
        pixels, shrink = decode(encoded, longest if is_jpeg else None)
        height, width = pixels.shape[:2]
        if self.size and (width, height) != tuple(-(-side // shrink) for side in self.size):
            real = f"{width * shrink}x{height * shrink}"
            raise BadSample(f"is {real}, its annotations are for {self.size[0]}x{self.size[1]}")
        return Picture(encoded, suffix, pixels, self.boxes, reduced=shrink > 1)


def assign_splits(photographs: Sequence[Photograph], data: Data, parts: Mapping[str, float]) -> dict[str, str]:
    """Return the split of each photograph that has one, by its origin, as `splits.assign` does.

    Args:
        photographs: The photographs to assign.
        data: `classes` are those of the boxes, `seed` is of the shuffle.
        parts: The images or fractions of each split.
    """
    shown = {photograph.origin: [box[0] for box in photograph.boxes] for photograph in photographs}
    return assign(shown, data.classes, parts, data.seed)


def place(photographs: Sequence[Photograph], splits: Mapping[str, str]) -> list[Photograph]:
    """Return the photographs that have a split, each with that split and a unique name.

    Args:
        photographs: Photographs whose `name` and `split` are not set yet.
        splits: The split of each photograph that has one, by its origin.
    """
    chosen = [photograph for photograph in photographs if photograph.origin in splits]
    names = unique_names([photograph.origin for photograph in chosen])
    return [replace(p, name=name, split=splits[p.origin]) for name, p in zip(names, chosen, strict=True)]


def unique_names(origins: Sequence[str]) -> list[str]:
    """Return a file name without suffix for each origin: `1` for `b/1.jpg`, or `b_1` if a second folder has a `1`."""
    paths = [PurePath(origin) for origin in origins]
    stems: dict[str, int] = {}
    for path in paths:
        stems[path.stem.casefold()] = stems.get(path.stem.casefold(), 0) + 1
    names: list[str] = []
    used: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else "_".join([*_folders(path), path.stem])
        name = name.lstrip(".") or "image"  # the trainer skips files whose name begins with a dot
        if len(os.fsencode(name)) > LONGEST_NAME:
            name = f"{name[:40]}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
        while name.casefold() in used:  # `1.jpg` beside `1.png`
            name += f"_{path.suffix[1:]}"
        used.add(name.casefold())
        names.append(name)
    return names


def _folders(path: PurePath) -> list[str]:
    """Return the folders of a path that can be part of a file name: no drive, no root, no `..`."""
    return [part for part in path.parent.parts if part not in (path.anchor, "..", ".")]
