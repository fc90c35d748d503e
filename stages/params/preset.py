"""Write a preset into params.yaml.

A preset is a file in presets/ with values that belong together. They replace those of params.yaml. Comments and all
other keys stay. The result is validated first, so an invalid preset changes nothing.
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
_REPLACED = ("tune.space", "head")  # mappings that a preset replaces as a whole


def presets() -> dict[str, str]:
    """Return the purpose of each preset, which is the first line of its file, by name."""
    return {
        path.stem: path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ")
        for path in sorted(PRESETS.glob("*.yaml"))
    }


def file_of(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        BadParams: The preset does not exist.
    """
    if name not in presets():
        raise BadParams(f"preset {name!r} does not exist; the presets are {', '.join(presets())}")
    return PRESETS / f"{name}.yaml"


def values_of(name: str) -> dict[str, Any]:
    """Return the values of a preset.

    Raises:
        BadParams: The preset does not exist, or its file is not valid.
    """
    return params_file.read(file_of(name))


def with_preset(text: str, preset: str, others: Sequence[str] = ()) -> str:
    """Return the text of a params.yaml with the values of a preset.

    Args:
        text: The text of params.yaml.
        preset: The text of the preset.
        others: Further values, each as `key=value`, with a dot after the name of a group: `data.path=photos`.

    Raises:
        BadParams: A further value does not have this form, or its key is not in params.yaml.
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
    """Write the values of a preset into a mapping. `place` is its group in params.yaml, with a dot at the end."""
    for key, value in preset.items():
        name = f"{place}{key}"
        if isinstance(value, Mapping) and name not in _REPLACED:
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
    """Write a preset into params.yaml and print the changes.

    Args:
        name: The preset.
        others: Further values, each as `key=value`.
        check_more: A function of the new parameters and a name for messages, which raises BadParams if they are wrong.

    Raises:
        BadParams: The preset does not exist, or the result is not valid. params.yaml is unchanged then.
    """
    values_of(name)  # a preset of the user's own may not be valid
    old_content = params_file.read(params_file.PARAMS)
    before = params_file.PARAMS.read_text(encoding="utf-8")
    after = with_preset(before, file_of(name).read_text(encoding="utf-8"), others)
    content = params_file.parsed(after, "params.yaml")
    check_more(params_file.validate(content, name=f"preset {name}"), f"preset {name}")
    lines = list(changes(old_content, content))
    if not lines:
        print(f"params.yaml already has the values of preset {name}")
        return
    is_clean = not git("status", "--porcelain", "--", str(params_file.PARAMS))
    write_atomic(params_file.PARAMS, after)
    print("\n".join(lines))
    if is_clean:
        print("written to params.yaml; `git checkout params.yaml` restores it")
    else:
        print("written to params.yaml, which had other uncommitted changes; `git diff params.yaml` shows all of them")
    print("next: run `dvc repro`")
