"""Variables of .env in the main repository, for every command of this project.

Docker Compose reads the same file, so a secret stands in it once. The syntax is that of Compose: NAME=VALUE, with
${NAME} and ${NAME:-DEFAULT} in values that have no single quotes. Each command reads the file when it starts. A queued
experiment runs in a folder of its own, and reads the file of the main repository.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from stages.base.failures import Failure
from stages.base.paths import main_root

FILE = ".env"

NAMES = {
    "MLFLOW_TRACKING_URI": None,
    "MLFLOW_TRACKING_USERNAME": "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_PASSWORD": "MLFLOW_TRACKING_URI",
    "OPTUNA_STORAGE": None,
    "PGPASSWORD": "OPTUNA_STORAGE",  # PostgreSQL's driver reads it, so that the address needs no password
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_S3": "AWS_ACCESS_KEY_ID",
    "RAY_ADDRESS": None,
    "STUDY": None,
}
"""The variables that a command takes from .env. An account belongs to the variable beside it: if that one comes from
the environment, the account of .env is not sent to it. All other lines of .env are for Docker Compose alone."""


def load() -> None:
    """Set the variables of .env that the environment lacks. A variable of the environment wins, also an empty one.

    Raises:
        Failure: The file cannot be read, or has a wrong line.
    """
    outside = set(os.environ)
    for name, value in read().items():
        if value and not {name, NAMES[name]} & outside:
            os.environ[name] = value


def read() -> dict[str, str]:
    """Return the variables of NAMES that .env has, with other variables filled in; empty without that file.

    Raises:
        Failure: The file cannot be read, or has a wrong line. The message never repeats the line: it may be a secret.
    """
    try:
        with (main_root() / FILE).open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failure(f"{FILE} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{FILE} cannot be read: it must be saved as UTF-8") from error
    values: dict[str, str] = {}
    for binding in bindings:
        text = binding.original.string
        blank_lines = text[: len(text) - len(text.lstrip())].count("\n")
        place = f"{FILE}, line {binding.original.line + blank_lines}"
        if binding.error or (binding.key is not None and binding.value is None):
            raise Failure(f"{place}: it must be NAME=VALUE, a comment after #, or empty; quotes must be closed")
        if binding.key is not None and binding.value is not None:
            is_literal = text.partition("=")[2].lstrip().startswith("'")
            values[binding.key] = binding.value if is_literal else _filled(binding.value, values, place)
    return {name: values[name] for name in NAMES if name in values}


def _filled(text: str, above: Mapping[str, str], place: str) -> str:
    """Return a value with its ${NAME} replaced: from the environment, from the lines above, else by the default."""
    parts = []
    for atom in parse_variables(text):
        if isinstance(atom, Variable):
            value = os.environ.get(atom.name) or above.get(atom.name) or atom.default
            if value is None:
                raise Failure(f"{place}: ${{{atom.name}}} is set neither above nor in the environment")
            parts.append(value)
        else:
            parts.append(atom.resolve({}))
    return "".join(parts)
