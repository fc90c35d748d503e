"""Photographs from files: their names in the prepared data set, their splits, their reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from stages.data.images import _END_OF_JPEG, _shrink, _whole, decode
from stages.data.samples import BadSample, Box, Picture


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image file whose labels are known. A data set holds one for each image, so it is kept small.

    Attributes:
        path: The file, as text: a Path takes several times the memory.
        size: (width, height) in pixels that the annotations state, to be checked; None where they state none.
    """

    name: str
    split: str
    path: str
    origin: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None

    def read(self, longest: int | None = None) -> Picture:
        """Read and decode the file. Orientation in EXIF is applied, as the trainer applies it.

        A JPEG that is at least twice as large as wanted is decoded at a half, a quarter or an eighth: its decoder does
        that faster than it could be decoded whole and reduced.
        """
        path = Path(self.path)
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise BadSample(error.strerror or "cannot be read") from error
        if not encoded:
            raise BadSample("an empty file")
        shrink = 1
        suffix = path.suffix.lower()
        if suffix in (".jpg", ".jpeg"):
            if not encoded.endswith(_END_OF_JPEG):
                encoded = _whole(encoded)
            if longest:
                shrink = _shrink(encoded, longest)
        pixels = decode(encoded, shrink)
        height, width = pixels.shape[:2]
        if self.size and (width, height) != tuple(-(-side // shrink) for side in self.size):
            found = f"{width * shrink}x{height * shrink}"
            raise BadSample(f"is {found}, its annotations are for {self.size[0]}x{self.size[1]}")
        return Picture(encoded, suffix, pixels, self.boxes, reduced=shrink > 1)


def place(photographs: Sequence[Photograph], splits: Mapping[str, str]) -> list[Photograph]:
    """The photographs that have a split, by their origin, each with that split and a name of its own."""
    chosen = [photograph for photograph in photographs if photograph.origin in splits]
    names = unique_names([photograph.origin for photograph in chosen])
    return [replace(p, name=name, split=splits[p.origin]) for name, p in zip(names, chosen, strict=True)]


def unique_names(origins: Sequence[str]) -> list[str]:
    """A file name without suffix for each origin (`b/1.jpg` is `1`, or `b_1` where another folder has a `1`)."""
    paths = [PurePath(origin) for origin in origins]
    stems: dict[str, int] = {}
    for path in paths:
        stems[path.stem.casefold()] = stems.get(path.stem.casefold(), 0) + 1
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else "_".join([*_folders(path), path.stem])
        name = name.lstrip(".") or "image"  # the trainer does not see files whose name begins with a dot
        while name.casefold() in taken:  # `1.jpg` beside `1.png`
            name += f"_{path.suffix[1:]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _folders(path: PurePath) -> list[str]:
    """The folders of a path that can stand in a file's name: neither a drive, nor the root, nor the one above."""
    return [part for part in path.parent.parts if part not in (path.anchor, "..", ".")]
