"""Source `synthetic`: drawn people, without network, with the same bytes on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass

from stages.base.failures import Failure
from stages.data.drawing.scenes import draw
from stages.data.samples import Collection, Picture, encode
from stages.params.schema import Data

CLASSES: tuple[str, ...] | None = ("person",)
NEEDS: dict[str, str] = {}
IMGSZ: int | None = 160  # pixels; the pictures are square

SPLIT = {"train": 256, "val": 64, "test": 64}  # images


@dataclass(frozen=True)
class Drawing:
    """One drawn picture: the seed of the data set, the split and the number decide all of it."""

    name: str
    split: str
    seed: int
    number: int
    imgsz: int

    @property
    def origin(self) -> str:
        return self.name

    def read(self, longest: int | None = None) -> Picture:
        """Draw the picture; return it as an encoded JPEG with its boxes."""
        pixels, boxes = draw(random.Random(f"{self.seed}/{self.split}/{self.number}"), self.imgsz)
        return Picture(encode(pixels), ".jpg", pixels, boxes)


def collect(data: Data) -> Collection:
    """Return the drawings of the data set, `data.imgsz` x `data.imgsz` pixels each, or IMGSZ x IMGSZ.

    Args:
        data: `split` is in images; null is SPLIT. Another `seed` gives other drawings.

    Raises:
        Failure: `split` holds fractions. The number of drawings is not limited, so a fraction has no meaning.
    """
    counts = data.split.parts() or SPLIT
    if any(isinstance(count, float) for count in counts.values()):
        raise Failure("data.split: fractions have no meaning for source synthetic; give whole numbers of images")
    imgsz = data.imgsz or IMGSZ
    assert imgsz is not None
    return Collection(
        [
            Drawing(f"{split}-{number:05d}", split, data.seed, number, imgsz)
            for split, count in counts.items()
            for number in range(int(count))
        ]
    )
