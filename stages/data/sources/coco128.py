"""Source `coco128`: the 61 photographs of people in COCO128, from Ultralytics' archive or a local copy of it."""

from __future__ import annotations

import hashlib
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from filelock import FileLock

from stages.base.downloads import fetch
from stages.base.failures import Failure
from stages.base.paths import locate, main_root
from stages.data.labels import read_labels
from stages.data.photographs import Photograph, assign_splits, place
from stages.data.samples import Collection
from stages.params.schema import Data

CLASSES: tuple[str, ...] | None = ("person",)
NEEDS: dict[str, str] = {}
IMGSZ: int | None = 320  # pixels

SPLIT = {"train": 40, "val": 10, "test": 10}  # images

CACHE = main_root() / ".cache"
"""Downloaded and unpacked files. They are kept in the main repository, so that queued experiments share them."""

DIGESTS = Path(__file__).with_name("coco128.sha256")
"""SHA-256 of each file that is used, and its path in the archive."""

# zipfile raises these for a damaged archive; ValueError for a name that is no UTF-8.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, struct.error)

LARGEST = 10_000_000  # bytes of a file: COCO128's are smaller, and a bomb would take all memory
_PERSON, _CLASSES = 0, 80  # in COCO: the number of the class person, and the number of classes


def collect(data: Data) -> Collection:
    """Fetch and unpack the photographs of people; return them with their labels and splits.

    Args:
        data: `url` is the address of the archive, `zip` a local copy instead of the download. If `split` is null, the
            splits are SPLIT. `seed` is of the shuffle that assigns images to splits.

    Raises:
        Failure: The archive cannot be fetched or read, is unsafe, or does not have the expected content.
    """
    if data.zip:
        archive = locate(data.zip)
        if not archive.is_file():
            raise Failure(f"data.zip: {archive} is not a file")
        folder = unpack(archive, CACHE)
    else:
        folder = _fetched(data.url, CACHE)
    photographs = []
    for name in expected():
        if name.startswith("images/"):
            label = folder / Path(name.replace("images/", "labels/", 1)).with_suffix(".txt")
            boxes = read_labels(label.read_text(encoding="utf-8"), _CLASSES, {_PERSON: 0})
            photographs.append(Photograph("", "", str(folder / name), name, boxes))
    splits = assign_splits(photographs, data, data.split.parts() or SPLIT)
    collection = Collection(place(photographs, splits))
    collection.count("images in none of the splits", len(photographs) - len(collection.items))
    return collection


def expected() -> dict[str, str]:
    """Return the SHA-256, in hexadecimal, of each file that is used, by its path below `coco128/`."""
    lines = DIGESTS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def unpack(archive: Path, cache: Path) -> Path:
    """Unpack the files that are used into a folder of `cache`, all of them or none; return that folder.

    Raises:
        Failure: The archive is not a zip file, one of its paths leads out of the folder, or a file is not COCO128's.
    """
    digests = expected()
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache / f"coco128-{digest[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "coco128.lock"):
        if folder.is_dir():
            return folder
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with zipfile.ZipFile(archive) as content:
                _refuse_unsafe(content, archive)
                for name, wanted in digests.items():
                    _unpack_file(content, name, wanted, partial, archive)
        except _DAMAGED as error:
            raise Failure(f"{archive} is not a whole zip file: {error}") from error
        partial.replace(folder)
    return folder


def _fetched(url: str, cache: Path) -> Path:
    """Fetch the archive and unpack it; return the folder."""
    name = f"coco128-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip"
    try:
        archive = fetch(url, cache, name)
    except Failure as failure:
        raise Failure(
            f"data.url: {failure}; fetch coco128.zip by hand and set data.zip to it, or take data.source: synthetic"
        ) from failure
    try:
        return unpack(archive, cache)
    except Failure as failure:
        archive.unlink(missing_ok=True)  # the next run fetches it again
        raise Failure(f"data.url: {url}: {failure}") from failure


def _refuse_unsafe(content: zipfile.ZipFile, archive: Path) -> None:
    for member in content.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in str(path) or stat.S_ISLNK(member.external_attr >> 16):
            raise Failure(
                f"{archive}: {member.filename!r} leads out of the folder it is unpacked to; nothing was unpacked"
            )


def _unpack_file(content: zipfile.ZipFile, name: str, wanted: str, folder: Path, archive: Path) -> None:
    try:
        if content.getinfo(f"coco128/{name}").file_size > LARGEST:
            raise Failure(f"{archive}: coco128/{name} is too large: not the COCO128 archive")
        data = content.read(f"coco128/{name}")
    except KeyError:
        raise Failure(f"{archive}: coco128/{name} is missing: not the COCO128 archive") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise Failure(f"{archive}: coco128/{name} differs from COCO128's file of that name")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
