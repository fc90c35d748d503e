"""Why a service cannot be used, in a few words and without what its address keeps secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

_STATUS = {
    "401": "401: it does not know this name and password",
    "403": "403: it refuses this name, password or Host header",
    "404": "404: something else answers there",
}
_SHORTEST = 3  # characters of a part of a password that are hidden where they stand alone


def reason(error: BaseException, address: str = "") -> str:
    """The cause of an error, in one line.

    Args:
        error: What a driver, MLflow or an S3 client has raised.
        address: The address that was used. What stands in it after the user is not told.
    """
    chain = list(_causes(error))
    for one in chain:
        if status := re.search(r"error code (\d{3})", str(one)):  # MLflow's words for an answer over HTTP
            return _STATUS.get(status[1], f"it answers {status[1]}")
        answer = getattr(one, "response", None)  # of an S3 client
        if isinstance(answer, dict) and "Error" in answer:
            told = answer["Error"]
            return _line(f"{told.get('Code', '')}: {told.get('Message', '')}", address)
    last = chain[-1]
    line = _line(getattr(last, "strerror", None) or str(last), address)
    return line if line and "://" not in line else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the cause last."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        yield error
        reasons = (getattr(error, "reason", None), getattr(error, "orig", None), error.__cause__, error.__context__)
        error = next((one for one in reasons if isinstance(one, BaseException)), error)


def _line(text: str, address: str) -> str:
    """The first line of a message, without the password of an address."""
    line = text.strip().partition("\n")[0].strip()
    secret = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
    parts = {secret, unquote(secret), *re.split(r"\W+", unquote(secret))}
    for part in sorted((part for part in parts if len(part) >= _SHORTEST), key=len, reverse=True):
        line = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "***", line)
    return line
