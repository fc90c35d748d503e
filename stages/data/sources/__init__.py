"""The sources of pictures. Each gives a Collection of items that can be read one by one, in any process."""

from __future__ import annotations

from stages.base.paths import locate, main_root
from stages.data.samples import Collection
from stages.data.sources import coco, coco128, synthetic, yolo
from stages.params.schema import Data

CACHE = main_root() / ".cache"
"""What was downloaded and unpacked: kept in the main repository, for queued experiments too."""


def collect(data: Data) -> Collection:
    """Find the pictures that the parameters ask for.

    Raises:
        Failure: The source is not there, or does not hold what is asked for.
    """
    parts = data.split.parts()
    match data.source:
        case "synthetic":
            return synthetic.collect(parts, data.seed, data.imgsz or synthetic.IMGSZ)
        case "coco128":
            return coco128.collect(data.url, locate(data.zip) if data.zip else None, CACHE, parts, data.seed)
        case "yolo":
            return yolo.collect(locate(data.path or ""), data.classes, parts, data.seed, data.background)
        case "coco":
            annotations = locate(data.annotations or "")
            return coco.collect(locate(data.path or ""), annotations, data.classes, parts, data.seed, data.background)


def longest_side(data: Data) -> int | None:
    """To how many pixels the longest side of a picture is reduced; None leaves every picture as it is."""
    return data.imgsz or {"synthetic": synthetic.IMGSZ, "coco128": coco128.IMGSZ}.get(data.source)
