"""The schema of params.yaml: its keys and their allowed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from stages.params.resolution import resolved
from stages.params.space import Dimension

GROUPS = ("data", "evaluate", "export", "tune")

Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
ClassName = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
_Least = dict[Literal["precision", "recall"], Annotated[float, Field(gt=0, le=1, strict=True)]]
Threshold = Literal["f1"] | Annotated[_Least, Field(min_length=1, max_length=1)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Group):
    """The images of each split: three whole numbers, three fractions, or null three times."""

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
        """Return the images (int) or fractions (float) by split, or None if the source decides."""
        if self.train is None or self.val is None or self.test is None:
            return None
        return {"train": self.train, "val": self.val, "test": self.test}


class Data(_Group):
    """The group `data`: the parameters of stage prepare. `stages.data.sources` checks which of them a source needs."""

    source: str = Field(description="the name of a data source, such as synthetic")
    path: str | None = Field(min_length=1, description="a folder of images, or null")
    annotations: str | None = Field(min_length=1, description="an annotation file, or null")
    url: str = Field(pattern=r"^https?://", description="an http or https address of coco128.zip")
    zip: str | None = Field(min_length=1, description="a local copy of coco128.zip, or null")
    classes: tuple[str, ...] = Field(min_length=1, description="a list of class names, at least one, each once")
    split: Split
    imgsz: int | None = Field(ge=32, le=8192, strict=True, description="pixels from 32 to 8192, or null")
    background: bool = Field(strict=True, description="true or false")
    on_error: Literal["stop", "skip"] = Field(description="stop or skip")
    seed: int = Field(ge=0, lt=2**31, strict=True, description="a whole number from 0")

    @model_validator(mode="after")
    def _possible_classes(self) -> Data:
        if "background" in self.classes:
            raise ValueError("classes cannot hold a class named background: it stands for no object in the reports")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} names one class twice")
        if not all(name.strip() for name in self.classes):
            raise ValueError(f"classes {list(self.classes)} has an empty name")
        return self


class Evaluate(_Group):
    """The group `evaluate`: the parameters of stage evaluate beside those of the training."""

    threshold: Threshold = Field(
        description="f1, or one of {precision: 0.9} and {recall: 0.9} with a number over 0, at most 1"
    )


class Export(_Group):
    """The group `export`: the parameters of stage export. `stages.detector.formats` checks the packages of a format."""

    formats: tuple[Literal["onnx", "openvino", "torchscript"], ...] = Field(
        description="a list of onnx, openvino and torchscript, each at most once, or [] to export nothing"
    )

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"{list(formats)} names one format twice")
        return formats


class Limits(_Group):
    """The group `tune.limits`: the greatest cost of a setting. Null is no limit."""

    ms_per_image: float | None = Field(gt=0, strict=True, description="milliseconds over 0, or null")
    model_mb: float | None = Field(gt=0, strict=True, description="megabytes over 0, or null")
    train_seconds: float | None = Field(gt=0, strict=True, description="seconds over 0, or null")

    @classmethod
    def of(cls, active: Mapping[str, float]) -> Limits:
        """Return limits by name. The other ones are null."""
        return cls.model_validate({**dict.fromkeys(cls.model_fields), **active})

    def active(self) -> dict[str, float]:
        """Return the limits that are not null, by name."""
        return {name: float(limit) for name, limit in self.model_dump().items() if limit is not None}

    def broken(self, costs: Mapping[str, float | None]) -> str:
        """Return the limits that costs break, as text: `ms_per_image 14.2 > 10`. It is empty if all are kept.

        A cost that was not measured breaks no limit.
        """
        over = {
            name: (cost, limit)
            for name, limit in self.active().items()
            if (cost := costs.get(name)) is not None and cost > limit
        }
        return ", ".join(f"{name} {cost:g} > {limit:g}" for name, (cost, limit) in over.items())


class Tune(_Group):
    """The group `tune`: the parameters of the study and of the decision."""

    trials: int = Field(ge=1, le=1_000_000, strict=True, description="a whole number from 1")
    timeout: float | None = Field(gt=0, strict=True, description="seconds over 0, or null")
    workers: int | None = Field(ge=1, le=256, strict=True, description="a whole number from 1 to 256, or null")
    trials_per_gpu: int = Field(ge=1, le=64, strict=True, description="a whole number from 1 to 64")
    cluster: str | None = Field(
        pattern=r"^[\w.-]+:\d{1,5}$", description="the address of a Ray cluster such as 10.0.0.5:6379, or null"
    )
    sampler: Literal["auto", "gp", "tpe", "random"] = Field(description="auto, gp, tpe or random")
    pruner: Literal["forecast", "median", "hyperband", "none"] = Field(
        description="forecast, median, hyperband or none"
    )
    patience: int | None = Field(ge=1, le=1000, strict=True, description="a whole number from 1 to 1000, or null")
    limits: Limits
    stall: float | None = Field(gt=0, strict=True, description="seconds over 0, or null")
    seed: int = Field(ge=0, lt=2**31, strict=True, description="a whole number from 0")
    confirm_seeds: int = Field(ge=0, le=100, strict=True, description="a whole number from 0 to 100")
    confirm_over: Literal["seeds", "splits"] = Field(description="seeds or splits")
    storage: str | None = Field(description="an SQLAlchemy URL, or null")
    space: dict[str, Dimension] = Field(
        min_length=1, description="a mapping of at least one training key to its values"
    )

    @model_validator(mode="after")
    def _possible_storage_and_pruner(self) -> Tune:
        if self.storage is not None:
            try:
                url = make_url(self.storage)
            except (ArgumentError, ValueError) as error:  # its text would repeat the URL, and a password in it
                raise ValueError(
                    "storage must be an SQLAlchemy URL such as postgresql+psycopg://host/database"
                ) from error
            if url.password or "password" in url.query:
                raise ValueError("storage has a password, which git would keep: set OPTUNA_STORAGE to that URL instead")
        if self.pruner == "hyperband" and "epochs" in self.space:
            raise ValueError(
                "pruner hyperband compares trials of equal length: remove epochs from tune.space, or set forecast"
            )
        return self


class Params(BaseModel):
    """All of params.yaml. All fields but the groups and `head` are training arguments of Ultralytics."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    model: str = Field(pattern=r"\.(yaml|yml|pt)$", description="a model's .yaml or .pt file")
    head: Literal["keep", "new"] | dict[ClassName, ClassName | Annotated[list[ClassName], Field(min_length=1)]] = Field(
        description="keep, new, or a map such as {person: Normal} from a class of data.classes to those of the model"
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
    evaluate: Evaluate
    export: Export
    tune: Tune

    def training(self) -> dict[str, Any]:
        """Return the arguments of the training, by Ultralytics' names, and `head`."""
        return resolved(self.written())

    def written(self) -> dict[str, Any]:
        """Return the training keys with their values in the file, where `nbs` may be `batch`."""
        return {key: value for key, value in self.model_dump().items() if key in self.training_keys()}

    def training_keys(self) -> list[str]:
        """Return the keys at the top level, without the groups."""
        return [*(key for key in type(self).model_fields if key not in GROUPS), *(self.model_extra or {})]

    def whole(self, key: str) -> bool:
        """Return whether a training key takes whole numbers."""
        field = type(self).model_fields.get(key)
        if field is not None:
            return field.annotation is int or key == "nbs"
        return type((self.model_extra or {}).get(key)) is int
