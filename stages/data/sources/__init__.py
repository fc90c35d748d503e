"""Sources of pictures. A new source is one module that follows `Source`, and one entry in SOURCES."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stages.base.failures import BadParams
from stages.data.samples import Collection
from stages.data.sources import coco, coco128, synthetic, yolo
from stages.params.schema import Data, Params


class Source(Protocol):
    """A place that pictures come from. Each module of this package is one."""

    @property
    def CLASSES(self) -> tuple[str, ...] | None:  # noqa: N802 - a constant of a module
        """The only value that `data.classes` may have, or None if the pictures may show any classes."""

    @property
    def NEEDS(self) -> Mapping[str, str]:  # noqa: N802
        """Keys of `data` that must not be null, and a noun for each that says what it holds."""

    @property
    def IMGSZ(self) -> int | None:  # noqa: N802
        """The pixels of the longest side if `data.imgsz` is null. None leaves every picture as it is."""

    def collect(self, data: Data) -> Collection:
        """Return the pictures that the parameters ask for, without reading their pixels.

        Raises:
            Failure: The source cannot be reached, or lacks what the parameters ask for.
        """


SOURCES: dict[str, Source] = {"synthetic": synthetic, "coco128": coco128, "yolo": yolo, "coco": coco}
"""Every source, by its name in `data.source`."""


def check_source(params: Params, name: str = "params.yaml") -> None:
    """Check that `data.source` exists and that the other keys of `data` fit it.

    Args:
        params: Valid parameters.
        name: The name of the file, with which a message begins.

    Raises:
        BadParams: The source does not exist, lacks a key that it needs, or cannot hold `data.classes`.
    """
    data = params.data
    source = SOURCES.get(data.source)
    if source is None:
        *names, last = SOURCES
        allowed = f"{', '.join(names)} or {last}"
        raise BadParams(f"{name}: data.source: {data.source!r} is not allowed; it must be {allowed}")
    if source.CLASSES is not None and data.classes != source.CLASSES:
        raise BadParams(
            f"{name}: data: classes {list(data.classes)} cannot come from source {data.source}: it holds "
            f"[{', '.join(source.CLASSES)}]"
        )
    for key, content in source.NEEDS.items():
        if getattr(data, key) is None:
            raise BadParams(f"{name}: data: {key} is null; source {data.source} needs {content}")


def collect(data: Data) -> Collection:
    """Return the pictures that the parameters ask for, as `Source.collect` does."""
    return SOURCES[data.source].collect(data)


def longest_side(data: Data) -> int | None:
    """Return the pixels to which the longest side of a picture is reduced. None leaves every picture as it is."""
    return data.imgsz or SOURCES[data.source].IMGSZ
