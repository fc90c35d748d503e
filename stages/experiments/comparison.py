"""The comparison of all runs: one row for each, made from the data that `dvc exp show` reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dvc.repo.experiments.serialize import ExpState, SerializableExp
from dvc.utils.flatten import flatten

from stages.base.formatting import plain
from stages.base.git import baseline_name
from stages.base.paths import BEST_MODEL, FIGURES, TEST_METRICS, TRAIN_METRICS
from stages.experiments.names import AS_IS, run_kind
from stages.experiments.results import is_test_of_model
from stages.params.space import same

# Paths in the data of `dvc exp show`: with the separator of this platform.
PARAMS = "params.yaml"
TRAINED = str(Path(TRAIN_METRICS))
TESTED = str(Path(TEST_METRICS))
MODEL = str(Path(BEST_MODEL))

HEADERS = {
    "val_mAP50": "val mAP50",
    "val_mAP50-95": "val mAP50-95",
    "test_mAP50": "test mAP50",
    "train_seconds": "train s",
    "ms_per_image": "ms/image",
}
"""The columns of numbers, with their titles."""

DECIDES_AS_IS = ("model", "head", "imgsz", "data")
"""The parameters that the results of a model without training depend on."""


class Unreadable(Exception):
    """A run cannot be shown in a row. The text is the reason, in one line."""


@dataclass(frozen=True)
class Run:
    """A row.

    Attributes:
        name: The name of the run; `workspace` for results that are not committed.
        kind: A kind of `names.run_kind`, or `workspace`, or `as is` for a pretrained model without training.
        params: All parameters by flat name (`data.source`).
        numbers: By the names in HEADERS: mAP50 and mAP50-95 (0 to 1) on the validation split, mAP50 on the test split,
            seconds of training, milliseconds per image; None if a number is missing or belongs to another model.
        changes: Training keys and `data.*` whose value differs from the baseline; `-` if the run does not have the key.
    """

    name: str
    kind: str
    params: Mapping[str, Any]
    numbers: Mapping[str, float | None]
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All runs, compared.

    Attributes:
        runs: The rows: pretrained models without training, then the runs. In each part the rows are sorted by mAP50 on
            the validation split, the best first; rows without that number come last.
        hidden: The number of experiments that are `queued`, `running` or `failed`, by that word.
        unreadable: One line for each run that has no row, with the reason.
    """

    runs: Sequence[Run]
    hidden: Mapping[str, int]
    unreadable: Sequence[str]


def compare(
    states: Sequence[ExpState],
    experiments: Mapping[str, tuple[str, str]],
    head: str,
    hidden: Mapping[str, int] | None = None,
    edited: str = "",
) -> Comparison:
    """Compare all runs.

    Args:
        states: DVC's data of the workspace, and of commits with the finished experiments that started from them.
        experiments: The commit and the start of each finished experiment by name, as `refs.experiments` returns them.
            If two experiments have the same name, only this one has a row.
        head: The last commit.
        hidden: The number of experiments that are queued, running or failed, by that word. They have no row, because
            the numbers that DVC has for them are those of the baseline.
        edited: The reason why the metrics in the workspace are not those of its params.yaml; empty if they are.
    """
    runs: list[Run] = []
    untrained: dict[tuple[Any, ...], Run] = {}
    unreadable: dict[str, str] = {}
    baseline = baseline_name(head)

    def add(name: str, kind: str, state: ExpState) -> None:
        try:
            runs.append(read(name, kind, state))
            if (row := as_is(state)) is not None and not (edited and kind == "workspace"):
                untrained.setdefault(same(row.params), row)
        except Unreadable as error:
            unreadable[name] = str(error)

    for state in states:
        if state.rev in ("workspace", head):
            add(*((baseline, "baseline") if state.rev == head else ("workspace", "workspace")), state)
        for experiment in state.experiments or []:
            made = experiment.revs[0]
            if experiments.get(experiment.name, ("",))[0] == made.rev:
                add(experiment.name, run_kind(experiment.name, _figures(made.data)), made)

    listed = {run.name for run in runs} | unreadable.keys()
    for name, (_, start) in experiments.items():
        if name not in listed:
            unreadable[name] = f"DVC does not list it; is the commit {start[:7]}, from which it started, in this clone?"

    committed = next((run for run in runs if run.name == baseline), None)
    here = next((run for run in runs if run.name == "workspace"), None)
    if here and committed and _results(here) == _results(committed):
        runs.remove(here)
    elif here and edited:
        runs[runs.index(here)] = replace(here, numbers=dict.fromkeys(HEADERS))
        unreadable["the workspace's numbers"] = edited
    if unreadable.get("workspace") == unreadable.get(baseline):
        unreadable.pop("workspace", None)
    runs += untrained.values()
    if committed:
        runs = [replace(run, changes=_changes(run, committed)) for run in runs]
    runs.sort(key=_rank, reverse=True)
    return Comparison(runs, hidden or {}, [f"{name}: {why}" for name, why in unreadable.items()])


def _rank(run: Run) -> tuple[bool, float]:
    value = run.numbers["val_mAP50"]
    return run.kind == "as is", -math.inf if value is None else value


def as_is(state: ExpState) -> Run | None:
    """Return the row of the pretrained model that a run started from; None if it did not start from one.

    Raises:
        Unreadable: As from `read`.
    """
    if state.data is None:
        return None
    metrics, params = _content(state.data.metrics, TRAINED), _flat(_content(state.data.params, PARAMS))
    if AS_IS[0] not in metrics:
        return None
    validated, tested = (_number(metrics, name, TRAINED) for name in AS_IS)
    numbers = dict.fromkeys(HEADERS) | {"val_mAP50": validated, "test_mAP50": tested, "train_seconds": 0.0}
    # Other parameters do not count: two runs that differ in lr0 started from the same model.
    decides = {key: value for key, value in params.items() if key.split(".")[0] in DECIDES_AS_IS}
    return Run("as-is", "as is", decides, numbers)


def _results(run: Run) -> tuple[Any, ...]:
    """Return the parameters and results of a run, without times: they differ from one time to the next."""
    return run.params, *(value for key, value in run.numbers.items() if key not in ("train_seconds", "ms_per_image"))


def _figures(data: SerializableExp | None) -> int:
    """Return how many files reports/figures has."""
    figures = data.outs.get(str(Path(FIGURES))) if data else None
    return figures.nfiles or 0 if figures is not None else 0


def read(name: str, kind: str, state: ExpState) -> Run:
    """Return the row of a run; its `changes` are empty.

    Raises:
        Unreadable: DVC could not read the run, or its parameters or metrics are missing or have another form.
    """
    if state.data is None:
        raise Unreadable(" ".join(str(state.error.msg if state.error else "DVC has no data of it").split()))
    data = state.data
    params = _content(data.params, PARAMS)
    trained = _content(data.metrics, TRAINED)
    if "mAP50" not in trained:
        raise Unreadable(f"{TRAINED} has no mAP50")
    written, used = data.outs.get(MODEL), data.deps.get(MODEL)
    is_of_model = is_test_of_model(written.hash if written else None, used.hash if used else None)
    tested = _content(data.metrics, TESTED) if is_of_model and not is_absent(data.metrics.get(TESTED)) else {}
    numbers = {f"val_{key}": _number(trained, key, TRAINED) for key in ("mAP50", "mAP50-95")}
    numbers["test_mAP50"] = _number(tested, "mAP50", TESTED)
    numbers["train_seconds"] = _number(trained, "train_seconds", TRAINED)
    numbers["ms_per_image"] = _number(tested, "ms_per_image", TESTED)
    return Run(name, kind, _flat(params), numbers)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by flat name; a map of class names (`head`) is one value."""
    head = params.get("head")
    return flatten({**params, "head": plain(head)} if isinstance(head, Mapping) else params)


def is_absent(result: Mapping[str, Any] | None) -> bool:
    """Return whether DVC found no such file. For a trial that is no error: a trial is not tested."""
    return not result or isinstance(result.get("error"), FileNotFoundError)


def _content(files: Mapping[str, Mapping[str, Any]], path: str) -> Mapping[str, Any]:
    result = files.get(path)
    if is_absent(result):
        raise Unreadable(f"{path} is missing")
    assert result
    if error := result.get("error"):
        raise Unreadable(f"{path}: {' '.join(str(error).split())}")
    if not isinstance(result["data"], Mapping):
        raise Unreadable(f"{path} is no mapping of names to values")
    return result["data"]


def _number(metrics: Mapping[str, Any], key: str, path: str) -> float | None:
    value = metrics.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{path}: {key} is {value!r}, not a number")
    return value if math.isfinite(value) else None


def _changes(run: Run, baseline: Run) -> dict[str, Any]:
    params = baseline.params
    if run.kind == "as is":
        params = {key: value for key, value in params.items() if key.split(".")[0] in DECIDES_AS_IS}
    return changes(run.params, params)


def changes(params: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training keys and `data.*` whose value differs from the baseline; `-` if only the baseline has it."""
    differing = {key: value for key, value in params.items() if key not in baseline or baseline[key] != value}
    differing |= {key: "-" for key in baseline if key not in params}
    return {key: value for key, value in differing.items() if not key.startswith("tune.")}
