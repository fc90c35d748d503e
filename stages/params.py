"""params.yaml: what may stand in it, and its validation as a whole before any work.

Training keys stand at the top level and bear Ultralytics' own names; `data` and `tune` are groups of their own. A key
that is not declared here is taken when it is a training argument of Ultralytics, checked by Ultralytics' own rules, and
passed on.
"""

from __future__ import annotations

import importlib.util
import io
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from stages.failures import BadParams
from stages.repository import ROOT
from stages.space import Dimension

PARAMS = ROOT / "params.yaml"
PIPELINE = ROOT / "dvc.yaml"

# Arguments of Ultralytics that this pipeline sets itself, or that have no meaning in a training.
_OWNED = frozenset((
    "task", "mode", "data", "project", "name", "exist_ok", "save", "time", "pretrained", "save_period", "resume",
    "verbose", "plots", "val", "split", "single_cls", "cfg", "profile", "source", "vid_stride", "stream_buffer",
    "visualize", "augment", "classes", "retina_masks", "embed", "show", "save_frames", "save_txt", "save_conf",
    "save_crop", "show_labels", "show_conf", "show_boxes", "line_width", "format", "optimize", "dynamic",
    "simplify", "opset", "workspace", "nms", "tracker", "save_json", "dnn", "cls_remap",
))  # fmt: skip

GROUPS = ("data", "tune")

# Training keys that a study must not search: where it runs, and luck.
_NOT_SEARCHED = {"device": "it says where a training runs", "seed": "the best seed is luck, not a better setting"}

Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
ClassName = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Group):
    """Images of each split: all three as whole numbers or all three as fractions, or none of them."""

    train: Count | Share | None = Field(description="a whole number of images, a fraction (0 to 1), or null")
    val: Count | Share | None = Field(description="a whole number of images, a fraction (0 to 1), or null")
    test: Count | Share | None = Field(description="a whole number of images, a fraction (0 to 1), or null")

    @model_validator(mode="after")
    def _alike(self) -> Split:
        parts = [self.train, self.val, self.test]
        if len({type(part) for part in parts}) > 1:
            raise ValueError("train, val and test must be three whole numbers, three fractions, or null all three")
        if isinstance(self.train, float) and not 0.999 <= sum(float(part or 0) for part in parts) <= 1.001:
            raise ValueError("the three fractions must add up to 1")
        return self

    def parts(self) -> dict[str, float] | None:
        """Images (int) or fractions (float) by split, or None where the source decides."""
        if self.train is None or self.val is None or self.test is None:
            return None
        return {"train": self.train, "val": self.val, "test": self.test}


class Data(_Group):
    """What prepare reads."""

    source: Literal["synthetic", "coco128", "yolo", "coco"] = Field(description="synthetic, coco128, yolo or coco")
    path: str | None = Field(description="a folder of images (source yolo or coco), or null")
    annotations: str | None = Field(description="a COCO annotation file (source coco), or null")
    url: str = Field(pattern=r"^https?://", description="an http or https address of coco128.zip")
    zip: str | None = Field(description="a local copy of coco128.zip, or null")
    classes: tuple[str, ...] = Field(min_length=1, description="a list of class names, at least one, each once")
    split: Split
    imgsz: int | None = Field(ge=32, le=8192, strict=True, description="pixels from 32 to 8192, or null")
    background: bool = Field(strict=True, description="true or false")
    on_error: Literal["stop", "skip"] = Field(description="stop or skip")
    seed: int = Field(ge=0, lt=2**31, strict=True, description="a whole number from 0")

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if "background" in self.classes:
            raise ValueError("classes cannot hold a class named background: it stands for no object in the reports")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} names one class twice")
        if self.source in ("synthetic", "coco128") and self.classes != ("person",):
            raise ValueError(f"classes {list(self.classes)} cannot come from source {self.source}: it holds [person]")
        if self.source in ("yolo", "coco") and self.path is None:
            raise ValueError(f"path is null; source {self.source} needs the folder of the images")
        if self.source == "coco" and self.annotations is None:
            raise ValueError("annotations is null; source coco needs the annotation file")
        return self


class Tune(_Group):
    """What the study does."""

    trials: int = Field(ge=1, le=1_000_000, strict=True, description="a whole number from 1")
    timeout: float | None = Field(gt=0, strict=True, description="seconds over 0, or null")
    workers: int | None = Field(ge=1, le=256, strict=True, description="a whole number from 1 to 256, or null")
    sampler: Literal["tpe", "random"] = Field(description="tpe or random")
    pruner: Literal["median", "hyperband", "none"] = Field(description="median, hyperband or none")
    seed: int = Field(ge=0, lt=2**31, strict=True, description="a whole number from 0")
    confirm_seeds: int = Field(ge=0, le=100, strict=True, description="a whole number from 0 to 100")
    storage: str | None = Field(description="an SQLAlchemy URL, or null")
    space: dict[str, Dimension] = Field(
        min_length=1, description="a mapping of at least one training key to its values"
    )

    @model_validator(mode="after")
    def _complete(self) -> Tune:
        if self.storage is not None:
            try:
                url = make_url(self.storage)
            except ArgumentError as error:  # its text would repeat the URL
                raise ValueError("storage is no SQLAlchemy URL, such as postgresql+psycopg://host/database") from error
            if url.password or "password" in url.query:
                raise ValueError(
                    "storage holds a password, which git would keep: set OPTUNA_STORAGE to that URL instead"
                )
        if self.pruner == "hyperband" and "epochs" in self.space:
            raise ValueError(
                "pruner hyperband compares trials of equal length: take epochs out of the space, or median"
            )
        return self


class Params(BaseModel):
    """The whole of params.yaml. Fields beside `data`, `tune` and `head` are Ultralytics' training arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    model: str = Field(pattern=r"\.(yaml|yml|pt)$", description="a model's .yaml or .pt file")
    head: Literal["keep", "new"] | dict[ClassName, ClassName | Annotated[list[ClassName], Field(min_length=1)]] = Field(
        description="keep, new, or a map such as {person: Normal}: a class of data.classes, one or more of the model"
    )
    epochs: int = Field(ge=1, le=100_000, strict=True, description="a whole number from 1 to 100000")
    imgsz: int = Field(ge=32, le=4096, multiple_of=32, strict=True, description="a multiple of 32 from 32 to 4096")
    batch: int = Field(ge=1, le=65_536, strict=True, description="a whole number from 1 to 65536")
    nbs: Annotated[int, Field(ge=1, le=65_536, strict=True)] | Literal["batch"] = Field(
        description="a whole number from 1 to 65536, or batch"
    )
    optimizer: Literal["auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp"] = Field(
        description="auto, SGD, MuSGD, Adam, Adamax, AdamW, NAdam, RAdam or RMSProp"
    )
    lr0: float = Field(gt=0, le=1, strict=True, description="a number over 0, at most 1")
    warmup_epochs: float = Field(ge=0, le=1000, strict=True, description="a number from 0 to 1000")
    scale: float = Field(ge=0, le=1, strict=True, description="a number from 0 to 1")
    mosaic: float = Field(ge=0, le=1, strict=True, description="a number from 0 to 1")
    close_mosaic: int = Field(ge=0, le=100_000, strict=True, description="a whole number from 0")
    seed: int = Field(ge=0, lt=2**31, strict=True, description="a whole number from 0")
    device: (
        Annotated[int, Field(strict=True, ge=-1, le=255)]
        | Annotated[str, Field(pattern=r"^(cpu|mps|-1|\d{1,3}(,\d{1,3})*)$")]
        | None
    ) = Field(description="null, cpu, mps, or GPU numbers such as 0 or '0,1'")
    data: Data
    tune: Tune

    def training(self) -> dict[str, Any]:
        """The arguments of the training, by Ultralytics' names, and `head`."""
        return resolved(self.written())

    def written(self) -> dict[str, Any]:
        """The training keys as they stand in the file."""
        return {key: value for key, value in self.model_dump().items() if key in self.training_keys()}

    def training_keys(self) -> list[str]:
        return [*(key for key in type(self).model_fields if key not in GROUPS), *(self.model_extra or {})]

    def whole(self, key: str) -> bool:
        """Whether a training key takes whole numbers."""
        field = type(self).model_fields.get(key)
        if field is not None:
            return field.annotation is int or key == "nbs"
        return type((self.model_extra or {}).get(key)) is int


def resolved(written: Mapping[str, Any]) -> dict[str, Any]:
    """Training arguments for Ultralytics from what stands in the file: `nbs: batch` is the batch size."""
    arguments = dict(written)
    if arguments.get("nbs") == "batch":
        arguments["nbs"] = arguments["batch"]
    return arguments


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
    extra = params.model_extra or {}
    defaults = _ultralytics_arguments() if extra else {}
    unknown = [str(key) for key in extra if key not in defaults]
    if unknown:
        raise BadParams(f"{name}: {', '.join(unknown)}: not a key of this project nor an argument of Ultralytics")
    owned = [key for key in extra if key in _OWNED]
    if owned:
        raise BadParams(f"{name}: {', '.join(owned)}: set by this project, or without meaning in a training; remove it")
    for key, value in extra.items():
        _check_kind(key, value, defaults[key], name)
    if extra:
        _check_by_ultralytics(extra, name)
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


def _ultralytics_arguments() -> dict[str, Any]:
    """Ultralytics' own list of arguments and defaults, read without importing it, which takes seconds."""
    package = importlib.util.find_spec("ultralytics")
    if package is None or package.origin is None:
        raise BadParams("ultralytics is not installed: run `pip install -r requirements.txt`")
    return dict(yaml.safe_load((Path(package.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")))


def _check_kind(key: str, value: Any, default: Any, name: str) -> None:
    """What Ultralytics' rules let through: where its default is a number, a value that is none or below zero."""
    if isinstance(default, bool) or not isinstance(default, int | float) or isinstance(value, list | str | None):
        return
    if isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise BadParams(f"{name}: {key}: {value!r} is not allowed; it must be a number from 0, such as {default}")


def _check_by_ultralytics(extra: dict[str, Any], name: str) -> None:
    from stages.yolo import check_arguments

    try:
        check_arguments(extra)
    except (TypeError, ValueError, SyntaxError) as error:
        raise BadParams(f"{name}: {error}") from error
