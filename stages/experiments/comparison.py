"""The table of everything that was run, from what DVC tells of it: which rows, in which order, with which marks."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dvc.repo.experiments.serialize import ExpState, SerializableExp
from dvc.utils.flatten import flatten
from tabulate import tabulate

from stages.base.formatting import plain
from stages.base.paths import FIGURES
from stages.experiments.names import AS_IS, is_confirmation, study_of
from stages.params.schema import GROUPS
from stages.params.space import same

# As DVC names them: with this platform's separator.
PARAMS = "params.yaml"
TRAINED = str(Path("reports/train/metrics.json"))
TESTED = str(Path("reports/evaluate/metrics.json"))
MODEL = str(Path("models/best.pt"))

ON_TERMINAL = 40  # rows
ON_PAGE = 100

HEADERS = {
    "val_mAP50": "val mAP50",
    "val_mAP50-95": "val mAP50-95",
    "test_mAP50": "test mAP50",
    "train_seconds": "train s",
    "ms_per_image": "ms/image",
}
DECIDES_AS_IS = ("model", "head", "imgsz", "data")  # the parameters that a model without training depends on
MARKED = ("val_mAP50", "test_mAP50")  # the best of these columns

GRID = "`dvc exp run --queue -S epochs=3,5 -S imgsz=128,160`, then `dvc queue start`"


class Unreadable(Exception):
    """What DVC tells of a run has no row: why, in one line."""


@dataclass(frozen=True)
class Run:
    """A row.

    Attributes:
        name: The run's one name; `workspace` for what is not committed.
        kind: `as is` (a pretrained model without training), `baseline`, `grid`, `trial`, `tuned`, `confirmation` or
            `workspace`.
        params: All parameters by flat name (`data.source`).
        numbers: By the names in HEADERS: mAP50 and mAP50-95 (0 to 1) of the validation split, mAP50 of the test split,
            seconds of training, milliseconds an image; None where a number is missing, or is not this model's.
        changes: Training keys and `data.*` whose value is not the baseline's; `-` where the run does not know the key.
    """

    name: str
    kind: str
    params: Mapping[str, Any]
    numbers: Mapping[str, float | None]
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        runs: The rows: pretrained models without training, then the runs. In each part the best mAP50 of the validation
            split is first, and those without a number come last.
        hidden: How many experiments are queued, running or failed, by that word.
        unreadable: A line for each run that has no row, with the reason.
    """

    runs: Sequence[Run]
    hidden: Mapping[str, int]
    unreadable: Sequence[str]


def compare(
    states: Sequence[ExpState],
    kept: Mapping[str, tuple[str, str]],
    head: str,
    hidden: Mapping[str, int] | None = None,
    edited: str = "",
) -> Comparison:
    """Make the rows.

    Args:
        states: What DVC knows of the workspace, and of commits with the finished experiments that started from them.
        kept: The commit and the start of each finished experiment by name, as records.experiments() gives them: of two
            with one name, only that one has a row.
        head: The last commit.
        hidden: How many experiments are queued, running or failed, by that word: DVC has numbers of these too, which
            are the baseline's.
        edited: Why the metrics in the workspace are not those of its params.yaml, if they are not.
    """
    runs: list[Run] = []
    untrained: dict[tuple[Any, ...], Run] = {}
    unreadable: dict[str, str] = {}
    baseline = f"baseline-{head[:7]}"

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
            if kept.get(experiment.name, ("",))[0] == made.rev:
                add(experiment.name, kind(experiment.name, made.data), made)

    known = {run.name for run in runs} | unreadable.keys()
    for name, (_, start) in kept.items():
        if name not in known:
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
    """Return the row of the pretrained model that a run started from; None where it started from none.

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
    # Only what such a model depends on: two runs that differ in lr0 started from the same one.
    decides = {key: value for key, value in params.items() if key.split(".")[0] in DECIDES_AS_IS}
    return Run("as-is", "as is", decides, numbers)


def _results(run: Run) -> tuple[Any, ...]:
    """What the same run gives again; its seconds and milliseconds are others each time."""
    return run.params, *(value for key, value in run.numbers.items() if key not in ("train_seconds", "ms_per_image"))


def kind(name: str, made: SerializableExp | None) -> str:
    """What an experiment was made for, by its name, and by whether it ended with the whole report of a study."""
    if study_of(name):
        return "trial"
    if is_confirmation(name):
        return "confirmation"
    figures = made.outs.get(str(Path(FIGURES))) if made else None
    return "tuned" if figures is not None and (figures.nfiles or 0) > 1 else "grid"


def read(name: str, kind_: str, state: ExpState) -> Run:
    """The row of a run, without what it changes.

    Raises:
        Unreadable: DVC could not read the run, or its parameters or metrics are missing or of another form.
    """
    if state.data is None:
        raise Unreadable(" ".join(str(state.error.msg if state.error else "DVC has no data of it").split()))
    data = state.data
    params = _content(data.params, PARAMS)
    trained = _content(data.metrics, TRAINED)
    if "mAP50" not in trained:
        raise Unreadable(f"{TRAINED} has no mAP50")
    tested = {} if is_absent(data.metrics.get(TESTED)) or _is_of_another_model(data) else _content(data.metrics, TESTED)
    numbers = {f"val_{key}": _number(trained, key, TRAINED) for key in ("mAP50", "mAP50-95")}
    numbers["test_mAP50"] = _number(tested, "mAP50", TESTED)
    numbers["train_seconds"] = _number(trained, "train_seconds", TRAINED)
    numbers["ms_per_image"] = _number(tested, "ms_per_image", TESTED)
    return Run(name, kind_, _flat(params), numbers)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by flat name; a map of class names (`head`) is one value."""
    head = params.get("head")
    return flatten({**params, "head": plain(head)} if isinstance(head, Mapping) else params)


def is_absent(result: Mapping[str, Any] | None) -> bool:
    """Whether DVC found no such file; it is no error in a trial, which is not tested."""
    return not result or isinstance(result.get("error"), FileNotFoundError)


def _is_of_another_model(data: SerializableExp) -> bool:
    """Whether the test metrics are those of the run before: `dvc exp run train` leaves them as they were."""
    evaluated, trained = data.deps.get(MODEL), data.outs.get(MODEL)
    return bool(evaluated and trained and evaluated.hash != trained.hash)


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
    known = baseline.params
    if run.kind == "as is":
        known = {key: value for key, value in known.items() if key.split(".")[0] in DECIDES_AS_IS}
    return changes(run.params, known)


def changes(params: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Training keys and `data.*` whose value is not the baseline's; `-` where only the baseline knows the key."""
    found = {key: value for key, value in params.items() if key not in baseline or baseline[key] != value}
    found |= {key: "-" for key in baseline if key not in params}
    return {key: value for key, value in found.items() if not key.startswith("tune.")}


# Tables ---------------------------------------------------------------------------------------------------------------


def terminal(comparison: Comparison, width: int) -> str:
    """The first rows for a terminal of that many columns (100 are enough), a `*` at the best, and notes beneath."""
    notes = _notes(comparison, ON_TERMINAL)
    if not comparison.runs:
        return "\n".join(notes)
    rows = _rows(comparison.runs, ON_TERMINAL, "*{}")
    headers = [header.replace(" ", "\n") for header in HEADERS.values()]  # two lines each, to be narrow
    taken = sum(max(len(cell) for cell in column) + 2 for column in list(zip(*rows, strict=True))[:2])
    taken += sum(max(len(line) for line in header.split("\n")) + 4 for header in headers)  # two of them tabulate's own
    return "\n".join([_table(rows, headers, "simple", max(12, width - taken)), "", *notes])


def markdown(comparison: Comparison) -> str:
    """The page: the first rows, the best in bold, and notes beneath."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in _rows(comparison.runs, ON_PAGE, "**{}**")]
    notes = "".join(f"- {note}\n" for note in _notes(comparison, ON_PAGE))
    return f"# What was run\n\n{_table(rows, list(HEADERS.values()), 'pipe', None)}\n\n{notes}"


def comma_separated(comparison: Comparison) -> str:
    """All rows with full precision, a column for each training parameter; an empty cell where something is missing."""
    keys = list(dict.fromkeys(key for run in comparison.runs for key in run.params if key.split(".")[0] not in GROUPS))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "kind", "varies", *HEADERS, *keys])
    for run in comparison.runs:
        numbers = ["" if run.numbers[name] is None else run.numbers[name] for name in HEADERS]
        params = [_text(run.params[key], "") if key in run.params else "" for key in keys]
        writer.writerow([run.name, run.kind, varies(run, ""), *numbers, *params])
    return text.getvalue()


def varies(run: Run, form: str = ".4g") -> str:
    """What a run changes, as text: `epochs 5, lr0 0.002`, or `-`; numbers that are not whole in that form."""
    return ", ".join(f"{key} {_text(value, form)}" for key, value in run.changes.items()) or "-"


def _text(value: Any, form: str) -> str:
    """A value as it stands in params.yaml."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(_text(part, form) for part in value)}]"
    return format(value, form) if isinstance(value, float) else str(value)


def _rows(runs: Sequence[Run], most: int, mark: str) -> list[list[str]]:
    """Cells of the first runs, and of the baseline wherever it stands."""
    best = {name: max((run.numbers[name] or 0 for run in runs), default=0) for name in MARKED}

    def cell(run: Run, name: str) -> str:
        value = run.numbers[name]
        if value is None:
            return "-"
        text = f"{value:.3f}" if "mAP50" in name else f"{value:.1f}"
        return mark.format(text) if value == best.get(name) else text

    shown = [run for place, run in enumerate(runs) if place < most or run.kind == "baseline"]
    return [[run.name, run.kind, varies(run), *(cell(run, name) for name in HEADERS)] for run in shown]


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], form: str, wrapped: int | None) -> str:
    return tabulate(
        rows,
        ["run", "kind", "varies", *headers],
        form,
        disable_numparse=True,
        colalign=["left"] * 3 + ["right"] * len(headers),
        maxcolwidths=[None, None, wrapped],
    )


def _notes(comparison: Comparison, most: int) -> list[str]:
    """What the table does not tell, a line each."""
    notes = [f"left out: {line}" for line in comparison.unreadable]
    if len(comparison.runs) > most:
        notes.insert(0, f"of {len(comparison.runs)} runs the first {most} are shown; all are in reports/comparison.csv")
    if comparison.hidden:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(comparison.hidden.items()))
        notes.append(f"without results: {counts}; `dvc queue status` shows them")
    elif all(run.kind in ("as is", "baseline", "workspace") for run in comparison.runs):
        notes.append(f"no experiments yet: {GRID}")
    return notes
