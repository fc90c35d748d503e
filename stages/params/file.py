"""Read, validate and write params.yaml.

Training keys stand at the top level and have Ultralytics' own names. `data` and `tune` are groups of their own. A key
that the schema does not declare must be a training argument of Ultralytics: `stages.detector.arguments` checks it.
"""

from __future__ import annotations

import io
import reprlib
from collections.abc import Mapping
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

# Training keys that a study must not search: where it runs, and luck.
_NOT_SEARCHED = {"device": "it says where a training runs", "seed": "the best seed is luck, not a better setting"}


def load(path: Path = PARAMS, pipeline: Path = PIPELINE) -> Params:
    """Read and validate params.yaml.

    Raises:
        BadParams: In one line, the key, its value and what is allowed, for every key that is wrong.
    """
    params = validate(read(path), name=path.name)
    listed = stage_params(pipeline, "train")
    missing = [key for key in params.training_keys() if key not in listed]
    if missing:
        raise BadParams(
            f"{path.name}: {', '.join(missing)}: not among the params of stage train in {pipeline.name}, "
            "so a change of it would not train again; add it there"
        )
    return params


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as DVC reads it (YAML 1.2: `1e-3` is a number)."""
    try:
        return parsed(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise BadParams(f"{path.name}: not valid YAML: {error}") from error
    except OSError as error:
        raise BadParams(f"{path.name}: {error.strerror}") from error


def parsed(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in the text of a YAML file, as DVC reads it.

    Raises:
        BadParams: It is not valid YAML, or not a mapping; the line begins with `name`.
    """
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
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
    """Writes null as it is written in params.yaml, not as nothing."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def value(text: str) -> Any:
    """A value from its text, as it would be read in the file."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        raise BadParams(f"{text}: not valid YAML") from error


def validate(content: dict[str, Any], name: str = "params.yaml") -> Params:
    """Check the content of params.yaml as a whole.

    Raises:
        BadParams: In one line, the key, its value and what is allowed, for every key that is wrong.
    """
    params = _check_keys(content, name)
    for key, dimension in params.tune.space.items():
        place = f"{name}: tune.space.{key}"
        if key not in params.training_keys():
            raise BadParams(f"{place}: not a training key of {name}; add it there with the value that it has now")
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
    strange = [] if isinstance(params.head, str) else [key for key in params.head if key not in params.data.classes]
    if strange:
        listed = ", ".join(params.data.classes)
        raise BadParams(f"{name}: head: {strange[0]!r} is not a class of data.classes, which has {listed}")
    return params


def stage_params(pipeline: Path, stage: str) -> set[str]:
    """The keys of params.yaml that a stage of dvc.yaml lists."""
    content = yaml.safe_load(pipeline.read_text(encoding="utf-8"))
    return {key for key in content["stages"][stage].get("params", []) if isinstance(key, str)}


def _lines(error: ValidationError) -> list[str]:
    """Return a line for each wrong key. Where a key has several forms, each form is wrong; the first one tells."""
    lines = []
    told: set[str] = set()
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
            if field in told:
                continue
            told.add(field)
            value = reprlib.repr(detail["input"])
            lines.append(f"{field}: {value} is not allowed; it must be {allowed or detail['msg']}")
    return lines


def _described(keys: list[str]) -> tuple[str, str | None]:
    """The key as the user wrote it (a union's branch is no key), and its field's description."""
    group: Any = Params
    for depth, key in enumerate(keys):
        if keys[:depth] == ["tune", "space"]:  # a key of the user's, with fields of ours
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
    """The text of a params.yaml with other values of top-level keys; comments and order are kept."""
    yaml_ = round_trip()
    content = yaml_.load(text)
    for key, value in values.items():
        content[key] = value
    return dumped(yaml_, content)
