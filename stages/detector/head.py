"""Keep the class rows of pretrained weights.

The last layer of a YOLO detection head has one row of weights for each class. If the weights have a class of the data
set, its row is worth more than a random one: the model detects that class without any training. This module makes a
model with exactly the classes of the data set from a user's weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.paths import main_root
from stages.detector.ultralytics import checkpoint_bytes, load_checkpoint, torch
from stages.detector.weights import model_file

Head = str | Mapping[str, str | Sequence[str]]
"""The parameter `head`: `keep`, `new`, or a map of a class of the data set to one or more classes of the model."""

CACHE = main_root() / ".cache" / "heads"

_SUPPORTED = ("Detect", "v10Detect")  # YOLOv8, YOLO11 and YOLO26 have the first, YOLOv10 has the second
_BRANCHES = ("cv3", "one2one_cv3")  # the class branches of such a head; only end-to-end models have the second
_FORMAT = 2  # of the derived file; another number makes every file again


@dataclass(frozen=True)
class Start:
    """The model that a training starts from.

    Attributes:
        model: An architecture or a file of weights, for Ultralytics.
        kept: The classes of the data set whose rows come from the weights. The other classes start at random.
        remap: Whether Ultralytics may copy class rows by name (its argument `cls_remap`).
    """

    model: str
    kept: tuple[str, ...] = ()
    remap: bool = True


def start_from(model: str, head: Head, classes: Sequence[str], seed: int = 0) -> Start:
    """Return the model that a training starts from, with the class rows that `head` asks for.

    An architecture (.yaml) has no rows to keep and is returned unchanged. Weights are rewritten with the classes of the
    data set, to `.cache/heads` of the main repository, if a row is kept or the number of rows is the same. The same
    arguments give the same file.

    Args:
        model: The parameter `model`.
        head: `keep` keeps the rows of the classes with the same name, in upper or lower case. `new` keeps none. A map
            names classes of the model for some classes of the data set; the other classes are kept by their own name.
        classes: The classes of the data set, in order.
        seed: The seed of the rows of new classes.

    Raises:
        Failure: The model does not exist or is not a YOLO detector, or `head` names a class that it does not have.
    """
    file = model_file(model)
    if not file.endswith(".pt"):
        return Start(file)
    network, checkpoint = _read(file)
    _check_head(network, Path(file).name)
    names = network.names if isinstance(network.names, dict) else dict(enumerate(network.names))
    model_classes = [str(names[number]) for number in sorted(names)]
    rows = class_rows(head, classes, model_classes, Path(file).name)
    kept = tuple(name for name, sources in zip(classes, rows, strict=True) if sources)
    if head == "new":
        rows = [[] for _ in classes]
    # For an equal number of classes, Ultralytics would copy the rows by position, so the weights are rewritten.
    if not any(rows) and len(model_classes) != len(classes):
        return Start(file, remap=not kept)
    digest = hashlib.sha256(Path(file).read_bytes())
    digest.update(json.dumps([_FORMAT, list(classes), rows, None if all(rows) else seed]).encode())
    derived = CACHE / f"{digest.hexdigest()[:16]}.pt"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(derived.with_suffix(".lock")):  # Windows cannot replace a file that another process reads
        if not derived.is_file():
            numbers = [value for value in network.state_dict().values() if value.is_floating_point()]
            is_half = all(value.half().float().equal(value) for value in numbers)
            _replace_rows(network, rows, classes, seed)
            if is_half:  # most published weights have half precision; so nothing is lost, and the file is smaller
                network.half()
            write_atomic(derived, checkpoint_bytes(network, dict(checkpoint.get("train_args", {})), checkpoint))
    return Start(str(derived), kept if head != "new" else ())


def class_names(data: Path) -> list[str]:
    """Return the names of the classes of a prepared data set, in order."""
    names = yaml.safe_load((data / "data.yaml").read_text(encoding="utf-8"))["names"]
    return [str(names[number]) for number in sorted(names)]


def class_rows(head: Head, classes: Sequence[str], model_classes: Sequence[str], file: str) -> list[list[int]]:
    """Return the rows of the model for each class of the data set. A class without rows starts at random.

    Args:
        head: As in `start_from`.
        classes: The classes of the data set.
        model_classes: The classes of the model, in the order of its rows.
        file: The name of the weights, for messages.

    Raises:
        Failure: `head` names a class that the model does not have.
    """
    places = {_folded(name): place for place, name in reversed(list(enumerate(model_classes)))}
    named = dict(head) if isinstance(head, Mapping) else {}
    rows = []
    for name in classes:
        wanted = named.get(name)
        if wanted is None:
            rows.append([places[_folded(name)]] if _folded(name) in places else [])
            continue
        sources = [wanted] if isinstance(wanted, str) else list(wanted)
        if missing := [source for source in sources if _folded(source) not in places]:
            more = f" and {len(model_classes) - 10} more" if len(model_classes) > 10 else ""
            listed = ", ".join(model_classes[:10]) + more
            raise Failure(f"head: {name}: {missing[0]!r} is not a class of {file}, which has {listed}")
        rows.append([places[_folded(source)] for source in sources])
    return rows


def _folded(name: str) -> str:
    return name.strip().casefold()


def _read(file: str) -> tuple[Any, dict[str, Any]]:
    """Return the network in float32 and the whole checkpoint, as Ultralytics reads them.

    Raises:
        Failure: The file is not a checkpoint of Ultralytics.
    """
    try:
        network, checkpoint = load_checkpoint(file)
        return network, dict(checkpoint)
    except Exception as error:  # torch, pickle and zipfile raise many kinds for a damaged file
        raise Failure(
            f"model: {file} cannot be read as weights of Ultralytics ({type(error).__name__}: {error})"
        ) from error


def _check_head(network: Any, file: str) -> None:
    head = network.model[-1]
    if type(head).__name__ not in _SUPPORTED:
        raise Failure(
            f"model: {file} ends in a {type(head).__name__}, which is not the head of a detector that this project "
            "trains; use weights such as yolov8n.pt"
        )


def _replace_rows(network: Any, rows: Sequence[Sequence[int]], classes: Sequence[str], seed: int) -> None:
    """Give the network the classes of the data set. This relies on the internals of Detect in Ultralytics 8.4.190."""
    head = network.model[-1]
    random = torch.Generator().manual_seed(seed)
    for branch in filter(None, (getattr(head, name, None) for name in _BRANCHES)):
        for level, stride in zip(branch, head.stride.tolist(), strict=True):
            old = level[-1]
            new = torch.nn.Conv2d(old.in_channels, len(classes), 1)
            bound = 1 / math.sqrt(old.in_channels)  # torch's own bound for such a layer
            prior = math.log(5 / len(classes) / (640 / stride) ** 2)  # as in Detect.bias_init
            with torch.no_grad():
                new.weight.uniform_(-bound, bound, generator=random)
                new.bias.fill_(prior)
                for place, sources in enumerate(rows):
                    if sources:
                        new.weight[place] = old.weight[list(sources)].mean(0)
                        new.bias[place] = old.bias[list(sources)].mean(0)
            level[-1] = new
    head.nc = len(classes)
    head.no = head.nc + head.reg_max * 4
    network.nc = len(classes)
    network.yaml["nc"] = len(classes)
    network.names = dict(enumerate(classes))
