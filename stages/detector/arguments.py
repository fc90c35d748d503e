"""Check the training arguments of Ultralytics that the schema of params.yaml does not declare."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.base.failures import BadParams
from stages.params.schema import Params

# Arguments of Ultralytics that this project sets itself, or that have no meaning in a training.
_NOT_ALLOWED = frozenset((
    "task", "mode", "data", "project", "name", "exist_ok", "save", "time", "pretrained", "save_period", "resume",
    "verbose", "plots", "val", "split", "single_cls", "cfg", "profile", "source", "vid_stride", "stream_buffer",
    "visualize", "augment", "classes", "retina_masks", "embed", "show", "save_frames", "save_txt", "save_conf",
    "save_crop", "show_labels", "show_conf", "show_boxes", "line_width", "format", "optimize", "dynamic",
    "simplify", "opset", "workspace", "nms", "tracker", "save_json", "dnn", "cls_remap",
))  # fmt: skip


def check_arguments(params: Params, name: str = "params.yaml") -> None:
    """Check each undeclared training argument, and each of its values in `tune.space`.

    Args:
        params: Valid parameters.
        name: The name of the file, with which a message begins.

    Raises:
        BadParams: Ultralytics does not have the argument or does not allow its value, or this project sets it itself.
    """
    extra = params.model_extra or {}
    if not extra:
        return
    _check(extra, name)
    for key, dimension in params.tune.space.items():
        for value in dimension.probes(params.whole(key) and dimension.is_whole()) if key in extra else ():
            _check({**extra, key: value}, f"{name}: tune.space.{key}")


def _check(extra: Mapping[str, Any], name: str) -> None:
    defaults = _defaults()
    unknown = [str(key) for key in extra if key not in defaults]
    if unknown:
        raise BadParams(f"{name}: {', '.join(unknown)}: not a key of this project nor an argument of Ultralytics")
    not_allowed = [key for key in extra if key in _NOT_ALLOWED]
    if not_allowed:
        listed = ", ".join(not_allowed)
        raise BadParams(f"{name}: {listed}: set by this project, or without meaning in a training; remove it")
    for key, value in extra.items():
        _check_kind(key, value, defaults[key], name)
    from stages.detector import ultralytics  # the import takes seconds, and few files have such a key

    try:
        ultralytics.check_arguments(dict(extra))
    except (TypeError, ValueError, SyntaxError) as error:
        raise BadParams(f"{name}: {error}") from error


def _defaults() -> dict[str, Any]:
    """Return Ultralytics' arguments and their defaults, without importing it, which takes seconds."""
    package = importlib.util.find_spec("ultralytics")
    if package is None or package.origin is None:
        raise BadParams("ultralytics is not installed: run `pip install -r requirements.txt`")
    return dict(yaml.safe_load((Path(package.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")))


def _check_kind(key: str, value: Any, default: Any, name: str) -> None:
    """Raise BadParams if the default is a number and the value is not a number from 0. Ultralytics allows that."""
    if isinstance(default, bool) or not isinstance(default, int | float) or isinstance(value, list | str | None):
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e300:
        raise BadParams(f"{name}: {key}: {value!r} is not allowed; it must be a number from 0, such as {default}")
