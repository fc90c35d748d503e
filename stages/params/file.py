"""Read, validate and write params.yaml.

Training keys are at the top level and have Ultralytics' own names. `data`, `evaluate`, `export` and `tune` are groups.
A key that the schema does not declare must be a training argument of Ultralytics. `stages.detector.arguments` checks
it.
"""

from __future__ import annotations

import io
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from stages.base.failures import BadParams
from stages.base.paths import ROOT
from stages.params.schema import Params
from stages.params.space import Dimension

PARAMS = ROOT / "params.yaml"
PIPELINE = ROOT / "dvc.yaml"

# Training keys that a study must not search, and the reasons.
_NOT_SEARCHED = {"device": "it says where a training runs", "seed": "the best seed is luck, not a better setting"}


def load(
    path: Path = PARAMS, pipeline: Path = PIPELINE, check_more: Callable[[Params, str], None] | None = None
) -> Params:
    """Read and validate params.yaml.

    Args:
        path: The file.
        pipeline: The dvc.yaml whose stage train must list every training key.
        check_more: A function of the parameters and the name of the file, which raises BadParams if they are wrong. It
            runs before the look into dvc.yaml, so a key that does not exist is not reported as absent there.

    Raises:
        BadParams: The file is wrong. One line has, for every wrong key, its value and the allowed values.
    """
    params = validate(read(path), name=path.name)
    if check_more is not None:
        check_more(params, path.name)
    listed = stage_params(pipeline, "train")
    missing = [key for key in params.training_keys() if key not in listed]
    if missing:
        raise BadParams(
            f"{path.name}: {', '.join(missing)}: not among the params of stage train in {pipeline.name}, "
            "so DVC would not train again after a change; add it there"
        )
    return params


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, as DVC reads it (YAML 1.2: `1e-3` is a number).

    Raises:
        BadParams: The file cannot be read, is not valid YAML, or is not a mapping.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise BadParams(f"{path.name}: not valid YAML: {error}") from error
    except OSError as error:
        raise BadParams(f"{path.name}: {error.strerror}") from error


def parsed(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in the text of a YAML file, as DVC reads it.

    Raises:
        BadParams: The text is not valid YAML, or not a mapping. The message begins with `name`.
    """
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date or number
        raise BadParams(f"{name}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadParams(f"{name}: must be a mapping of keys to values")
    return content


def round_trip() -> YAML:
    """Return a reader and writer of YAML that keeps comments, order and quotes."""
    yaml_ = YAML()
    yaml_.preserve_quotes = True
    yaml_.width = 4096
    yaml_.Representer = _Representer
    return yaml_


def dumped(yaml_: YAML, content: Any) -> str:
    """Return the content of a YAML file as text."""
    stream = io.StringIO()
    yaml_.dump(content, stream)
    return stream.getvalue()


class _Representer(RoundTripRepresenter):
    """Represents None as `null`, as params.yaml does, and not as an empty value."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def value(text: str) -> Any:
    """Return the value of a text, as it would be in the file.

    Raises:
        BadParams: The text is not valid YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, LookupError, RecursionError) as error:  # ValueError: an impossible date or number
        raise BadParams(f"{text}: not valid YAML") from error


def validate(content: dict[str, Any], name: str = "params.yaml") -> Params:
    """Validate the content of params.yaml as a whole.

    Args:
        content: The content.
        name: The name of the file, with which a message begins.

    Raises:
        BadParams: The content is wrong. One line has, for every wrong key, its value and the allowed values.
    """
    params = _check_keys(content, name)
    for key, dimension in params.tune.space.items():
        place = f"{name}: tune.space.{key}"
        if key not in params.training_keys():
            raise BadParams(f"{place}: not a training key of {name}; add it there with its present value")
        if key in _NOT_SEARCHED:
            raise BadParams(f"{place}: cannot be searched: {_NOT_SEARCHED[key]}")
        for value in dimension.probes(params.whole(key) and dimension.is_whole()):
            _check_keys({**content, key: value}, place)
    return params


def _check_keys(content: Mapping[str, Any], name: str) -> Params:
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise BadParams(f"{name}: " + "; ".join(dict.fromkeys(_lines(error)))) from error
    unknown = [] if isinstance(params.head, str) else [key for key in params.head if key not in params.data.classes]
    if unknown:
        listed = ", ".join(params.data.classes)
        raise BadParams(f"{name}: head: {unknown[0]!r} is not a class of data.classes, which has {listed}")
    return params


def stage_params(pipeline: Path, stage: str) -> set[str]:
    """Return the keys of params.yaml that a stage of dvc.yaml lists."""
    content = yaml.safe_load(pipeline.read_text(encoding="utf-8"))
    return {key for key in content["stages"][stage].get("params", []) if isinstance(key, str)}


def _lines(error: ValidationError) -> list[str]:
    """Return a message for each wrong key. If a key has several forms, only its first error counts."""
    lines = []
    described: set[str] = set()
    for detail in error.errors():
        keys = [str(part) for part in detail["loc"]]
        if detail["type"] == "missing":
            lines.append(f"{'.'.join(keys)}: missing")
        elif detail["type"] == "extra_forbidden":
            lines.append(f"{'.'.join(keys)}: not a key of this project")
        elif detail["type"] == "value_error":
            lines.append(f"{'.'.join(keys)}: {detail['ctx']['error']}")
        else:
            field, allowed = _described(keys)
            if field in described:
                continue
            described.add(field)
            value = reprlib.repr(detail["input"])
            lines.append(f"{field}: {value} is not allowed; it must be {allowed or detail['msg']}")
    return lines


def _described(keys: list[str]) -> tuple[str, str | None]:
    """Return the key as the user wrote it, without pydantic's names for the forms of a value, and its description."""
    group: Any = Params
    for depth, key in enumerate(keys):
        if keys[:depth] == ["tune", "space"]:  # the user's own key, with the fields of Dimension
            if len(keys) == depth + 1:
                return ".".join(keys), "{low, high}, with log or step, or {choices}"
            group = Dimension
            continue
        field = group.model_fields.get(key)
        if field is None:
            break
        if keys[: depth + 1] == ["tune", "space"] and len(keys) > 2:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and depth + 1 < len(keys):
            group = field.annotation
            continue
        return ".".join(keys[: depth + 1]), field.description
    return ".".join(keys), None


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a params.yaml with other values. Comments and order are kept.

    Args:
        text: The text of the file.
        values: Values by key; `data.seed` is a key of a group.
    """
    yaml_ = round_trip()
    content = yaml_.load(text)
    for key, value in values.items():
        *groups, last = key.split(".")
        group = content
        for name in groups:
            group = group[name]
        group[last] = value
    return dumped(yaml_, content)
