"""Connect a clone to the services of a team: .env for the project's commands, .dvc/config.local for DVC's own.

git ignores both files. DVC does not read .env, so its remote gets the address and the keys of .env.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.base import environment
from stages.base.failures import Failure
from stages.base.files import write_atomic
from stages.base.paths import main_root
from stages.services.reasons import unreadable_settings

EXAMPLE = ".env.example"
CONFIG = ".dvc/config.local"

_SETTINGS = {
    "endpointurl": "AWS_ENDPOINT_URL_S3",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
}
"""The settings of an S3 remote of DVC, and the variables of .env that they come from."""


def set_up() -> None:
    """Write .env from .env.example if it is missing, and the remote of DVC from .env. Print the names, no value.

    A second call changes nothing, unless .env has changed.

    Raises:
        Failure: A file cannot be read or written, or DVC refuses a setting.
    """
    root = main_root()
    for file in (root / environment.FILE, root / CONFIG):
        if file.exists():
            file.chmod(0o600)
    print(_write_env(root))
    print(_write_remote(root, environment.read()))


def _write_env(root: Path) -> str:
    """Write .env if it is missing, and let only the user read it; return a line about it."""
    path = root / environment.FILE
    if path.exists():
        return f"{environment.FILE}: kept"
    try:
        content = (root / EXAMPLE).read_bytes()
    except FileNotFoundError as error:
        raise Failure(f"{EXAMPLE} is missing: restore it with `git checkout {EXAMPLE}`") from error
    write_atomic(path, content, private=True)
    return f"{environment.FILE}: written from {EXAMPLE}; change its passwords before other machines can reach a port"


def _write_remote(root: Path, values: dict[str, str]) -> str:
    """Write the address and the keys of the S3 store for DVC's default remote; return a line about it."""
    from dvc.config import ConfigError  # DVC takes a second to import
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            name = repo.config["core"].get("remote")
            remote = repo.config["remote"].get(name, {})
            if not str(remote.get("url", "")).startswith("s3://"):
                return f"{CONFIG}: not written, because DVC's default remote ({name or 'none'}) is not on S3"
            wanted = {setting: values[key] for setting, key in _SETTINGS.items() if values.get(key)}
            if changed := [setting for setting, value in wanted.items() if remote.get(setting) != value]:
                _edit(repo.config, root, name, wanted)
    except ConfigError as error:
        raise unreadable_settings() from error
    except DvcException as error:
        raise Failure(f"DVC: {error}") from error
    if not wanted:
        missing = ", ".join(_SETTINGS.values())
        return f"{CONFIG}: not written, because {environment.FILE} has no {missing}: copy them from {EXAMPLE}"
    return f"{CONFIG}: remote {name}: " + (f"{', '.join(changed)} written" if changed else "nothing to change")


def _edit(config: Any, root: Path, name: str, wanted: dict[str, str]) -> None:
    """Do what `dvc remote modify --local` does, but in this process: the arguments of a process are public."""
    (root / CONFIG).touch(mode=0o600)
    with config.edit("local") as local:
        local["remote"].setdefault(name, {}).update(wanted)
