"""Import Ultralytics with its settings in `.yolo/` of the repository, without network and without its integrations.

All other modules import Ultralytics through this one, so that the environment is set before its first import.
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
os.environ["YOLO_OFFLINE"] = "true"  # no connection at import, no usage data
os.environ["YOLO_AUTOINSTALL"] = "false"  # a missing package is an error; Ultralytics must not call pip during a run
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("MPLCONFIGDIR", str(HOME / "matplotlib"))  # for the font cache that matplotlib writes at import

HOME.mkdir(exist_ok=True)
with FileLock(HOME / "settings.lock"):  # two first processes would both write the settings
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

LABEL_CACHES = 32  # files that are kept; each is as large as its labels

_load_or_scan = YOLODataset._load_or_scan_cache


def _load_or_scan_in_home(dataset: YOLODataset, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
    """Keep Ultralytics' cache of the labels in `.yolo/`, not in the data folder, which DVC watches.

    The hash covers the paths, sizes and times of all files, so it is a safe name for the cache. This replaces a private
    method of Ultralytics 8.4, which scans the labels again if the cache is not readable.
    """
    folder = HOME / "labels"
    folder.mkdir(exist_ok=True)
    cache = _load_or_scan(dataset, folder / f"{cache_hash}.cache", cache_hash)
    for old in sorted(folder.glob("*.cache"), key=_modified)[:-LABEL_CACHES]:
        old.unlink(missing_ok=True)
    return cache


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another training has removed the file
        return 0.0


YOLODataset._load_or_scan_cache = _load_or_scan_in_home


def set_threads(count: int) -> None:
    """Set the number of threads of a training on the CPU in this process, by a constant of Ultralytics 8.4."""
    torch_utils.NUM_THREADS = count


def check_device(device: int | str) -> None:
    """Check that this machine has a device.

    Args:
        device: The device, by Ultralytics' name.

    Raises:
        Failure: The device does not exist.
    """
    missing = f"device: {device!r} does not exist on this machine; set null, cpu or another device"
    try:
        selected = select_device(str(device), verbose=False)
    except ValueError as error:
        raise Failure(missing) from error
    if str(device).startswith("mps") and selected.type != "mps":  # Ultralytics takes the CPU in silence
        raise Failure(missing)


def check_arguments(arguments: dict[str, Any]) -> None:
    """Check training arguments by Ultralytics' own rules.

    Raises:
        TypeError, ValueError, SyntaxError: A type, a value or a name is wrong. The message is Ultralytics' own.
    """
    get_cfg(overrides=arguments)


# Arguments that name the folders of a training. A file of weights does not contain them, so that the same model has the
# same bytes in every folder.
_FOLDERS = ("data", "project", "name", "save_dir", "exist_ok")


def checkpoint_bytes(model: Any, arguments: Mapping[str, Any], origin: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file of weights for YOLO(...), without dates and paths.

    Args:
        model: The network. Its precision is kept.
        arguments: The training arguments to save in the file.
        origin: The checkpoint of the network, whose version and license are kept.
    """
    kept = {key: value for key, value in arguments.items() if key not in _FOLDERS}
    kept["model"] = Path(str(kept.get("model", "")).replace("\\", "/")).name
    model.args = kept
    vars(model).pop("pt_path", None)  # the path that Ultralytics has read the model from
    about = {key: origin[key] for key in ("version", "license", "docs") if key in origin}
    buffer = io.BytesIO()
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": kept, **about}, buffer)
    return buffer.getvalue()
