"""Ultralytics, kept inside the repository: its settings in `.yolo/`, no network, no integrations of its own.

Everything of Ultralytics is imported through this module, so that the environment is set before its first import.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.base.failures import Failure
from stages.base.paths import main_root

HOME = main_root() / ".yolo"

if "ultralytics" in sys.modules and os.environ.get("YOLO_CONFIG_DIR") != str(HOME):
    raise ImportError(
        "import stages.detector.ultralytics before ultralytics, or its settings are written to your home folder"
    )

os.environ["YOLO_CONFIG_DIR"] = str(HOME)
os.environ["YOLO_OFFLINE"] = "true"  # no look at the network at import, no usage data
os.environ["YOLO_AUTOINSTALL"] = "false"  # a missing package is an error, not a pip call in the middle of a run
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("MPLCONFIGDIR", str(HOME / "matplotlib"))  # the font cache that matplotlib writes at import

HOME.mkdir(exist_ok=True)
with FileLock(HOME / "settings.lock"):  # two processes may both find no settings
    from ultralytics.utils import RANK, SETTINGS

    _WANTED = {
        **dict.fromkeys(("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"), False),
        "datasets_dir": str(HOME / "datasets"),
        "weights_dir": str(HOME / "weights"),
        "runs_dir": str(HOME / "runs"),
    }
    if any(SETTINGS[key] != value for key, value in _WANTED.items()):
        SETTINGS.update(_WANTED)

import torch  # noqa: E402
from ultralytics import YOLO  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator  # noqa: E402
from ultralytics.nn.tasks import load_checkpoint  # noqa: E402
from ultralytics.utils import torch_utils  # noqa: E402
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_command  # noqa: E402
from ultralytics.utils.torch_utils import select_device  # noqa: E402

__all__ = [
    "HOME",
    "RANK",
    "SETTINGS",
    "YOLO",
    "DetectionTrainer",
    "DetectionValidator",
    "check_arguments",
    "check_device",
    "checkpoint_bytes",
    "ddp_cleanup",
    "generate_ddp_command",
    "load_checkpoint",
    "set_threads",
    "torch",
]

LABEL_CACHES = 32  # files kept; each is as large as the labels it was made from

_load_or_scan = YOLODataset._load_or_scan_cache


def _outside_the_data(dataset: YOLODataset, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
    """Keep what Ultralytics learnt of the labels in `.yolo/`, not in the data folder, which DVC watches.

    The hash is of the paths, sizes and times of all files, so it names the cache. Leans on a private method of
    Ultralytics 8.4, which reads an unreadable cache as none.
    """
    folder = HOME / "labels"
    folder.mkdir(exist_ok=True)
    found = _load_or_scan(dataset, folder / f"{cache_hash}.cache", cache_hash)
    for old in sorted(folder.glob("*.cache"), key=_age)[:-LABEL_CACHES]:
        old.unlink(missing_ok=True)
    return found


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another training has removed it
        return 0.0


YOLODataset._load_or_scan_cache = _outside_the_data


def set_threads(count: int) -> None:
    """Let a training on the CPU use that many threads in this process. Leans on a constant of Ultralytics 8.4."""
    torch_utils.NUM_THREADS = count


def check_device(device: int | str) -> None:
    """See whether this machine has a device, by Ultralytics' name for it.

    Raises:
        Failure: It does not.
    """
    try:
        select_device(str(device), verbose=False)
    except ValueError as error:
        raise Failure(f"device: {device!r} is not on this machine; take null, cpu, or one of its own") from error


def check_arguments(arguments: dict[str, Any]) -> None:
    """Check training arguments by Ultralytics' own rules.

    Raises:
        TypeError, ValueError, SyntaxError: As Ultralytics words it: a wrong type, an impossible value, an unknown name.
    """
    get_cfg(overrides=arguments)


# Arguments that say where a training ran: left out of a file of weights, so that the same model has the same bytes in
# every folder.
_PLACES = ("data", "project", "name", "save_dir", "exist_ok")


def checkpoint_bytes(model: Any, arguments: Mapping[str, Any], origin: Mapping[str, Any]) -> bytes:
    """Return a file of weights for any YOLO(...), without dates and without paths.

    Args:
        model: The network. Its precision is kept.
        arguments: The training arguments that the file shall name.
        origin: The checkpoint that the network was read from: its version and licence are kept.
    """
    kept = {key: value for key, value in arguments.items() if key not in _PLACES}
    kept["model"] = Path(str(kept.get("model", "")).replace("\\", "/")).name
    model.args = kept
    vars(model).pop("pt_path", None)  # where Ultralytics read it
    about = {key: origin[key] for key in ("version", "license", "docs") if key in origin}
    buffer = io.BytesIO()
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": kept, **about}, buffer)
    return buffer.getvalue()
