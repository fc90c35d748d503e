"""Write a preset into params.yaml: values that belong together.

A preset is a file in presets/. Its values replace those of params.yaml; comments and all other keys stay. The result is
checked as a whole first, so a preset that does not fit changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.base.failures import BadParams
from stages.base.files import write_atomic
from stages.base.formatting import plain
from stages.base.git import git
from stages.base.paths import ROOT
from stages.params import file as params_file
from stages.params.schema import Params

PRESETS = ROOT / "presets"
_WHOLE = ("tune.space", "head")  # mappings that a preset replaces, and does not add to


def presets() -> dict[str, str]:
    """Return what each preset is for, by name: the first line of its file."""
    return {
        path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for path in sorted(PRESETS.glob("*.yaml"))
    }


def file_of(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        BadParams: There is no such preset.
    """
    if name not in presets():
        raise BadParams(f"preset {name!r} is not known; there are {', '.join(presets())}")
    return PRESETS / f"{name}.yaml"


def values_of(name: str) -> dict[str, Any]:
    """Return the values of a preset."""
    return params_file.read(file_of(name))


def with_preset(text: str, preset: str, others: Sequence[str] = ()) -> str:
    """Return the text of a params.yaml with the values of a preset.

    Args:
        text: Of params.yaml.
        preset: The text of the preset.
        others: Further values, each as `key=value` with dots between the names of groups: `data.path=photos`.

    Raises:
        BadParams: A further value is not of that form, its key is not in params.yaml, or the result is not valid.
    """
    yaml = params_file.round_trip()
    content = yaml.load(text)
    _replace(content, yaml.load(preset), "")
    for other in others:
        key, separator, value = other.partition("=")
        *groups, last = key.split(".")
        group = content
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else None
        if not separator or not isinstance(group, dict) or last not in group:
            raise BadParams(f"{other!r} is not key=value with a key of params.yaml, such as data.path=photos")
        group[last] = params_file.value(value)
    return params_file.dumped(yaml, content)


def _replace(content: Any, preset: Any, place: str) -> None:
    """Write the values of a preset into a mapping, in place."""
    for key, value in preset.items():
        name = f"{place}{key}"
        if isinstance(value, Mapping) and name not in _WHOLE:
            if not isinstance(content.get(key), dict):
                raise BadParams(f"params.yaml: {name}: must be a mapping of keys to values")
            _replace(content[key], value, f"{name}.")
        else:
            content[key] = copy.deepcopy(value)


def changes(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield a line for each value that differs: `lr0: 0.002 -> 5e-05`."""
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        name = f"{place}{key}"
        if old == new and (key in before) == (key in after):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and name.count(".") < 2 and name != "head":
            yield from changes(old, new, f"{name}.")
        else:
            yield f"{name}: {plain(old) if key in before else '-'} -> {plain(new) if key in after else '-'}"


def write_preset(name: str, others: Sequence[str], check_more: Callable[[Params, str], None]) -> None:
    """Write a preset into params.yaml and print what changed.

    Args:
        name: The preset.
        others: Further values, each as `key=value`.
        check_more: Called with the new parameters and a name for messages; raises BadParams where they are wrong.

    Raises:
        BadParams: The preset is not known, or the result is not valid. params.yaml stays as it is then.
    """
    known = params_file.read(params_file.PARAMS)
    before = params_file.PARAMS.read_text(encoding="utf-8")
    after = with_preset(before, file_of(name).read_text(encoding="utf-8"), others)
    content = params_file.parsed(after, "params.yaml")
    check_more(params_file.validate(content, name=f"preset {name}"), f"preset {name}")
    lines = list(changes(known, content))
    if not lines:
        print(f"params.yaml has the values of preset {name} already")
        return
    is_clean = not git("status", "--porcelain", "--", str(params_file.PARAMS))
    write_atomic(params_file.PARAMS, after)
    print("\n".join(lines))
    if is_clean:
        print("written to params.yaml; `git checkout params.yaml` takes it back")
    else:
        print(
            "written to params.yaml, which had changes that are not committed: `git diff params.yaml` shows all of them"
        )
    print("next: `dvc repro`")
