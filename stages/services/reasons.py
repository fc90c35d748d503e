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
_SPLITS = re.compile(r"[\s/?#@:\[\]]")  # characters that end a password too early where they stand in it as they are


def reason(error: BaseException, address: str = "") -> str:
    """The cause of an error, in one line.

    Args:
        error: What a driver, MLflow or an S3 client has raised.
        address: The address that was used, whose password is not told.
    """
    user, _, secret = address.partition("://")[2].rpartition("@")[0].partition(":")
    if _SPLITS.search(user + secret):  # a part of it would be taken for the host, and told
        return "in an address the characters / ? # @ : of a name or password are written %2F %3F %23 %40 %3A"
    chain = list(_causes(error))
    for one in chain:
        if status := re.search(r"error code (\d{3})", str(one)):  # MLflow's words for an answer over HTTP
            return _STATUS.get(status[1], f"it answers {status[1]}")
        answer = getattr(one, "response", None)  # of an S3 client
        if isinstance(answer, dict) and "Error" in answer:
            told = answer["Error"]
            return _line(f"{told.get('Code', '')}: {told.get('Message', '')}", secret)
    last = chain[-1]
    line = _line(getattr(last, "strerror", None) or str(last), secret)
    return line if line and "://" not in line else type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, the cause last."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        yield error
        context = None if error.__suppress_context__ else error.__context__
        reasons = (getattr(error, "reason", None), getattr(error, "orig", None), error.__cause__, context)
        error = next((one for one in reasons if isinstance(one, BaseException)), error)


def _line(text: str, secret: str) -> str:
    """The first line of a message, without a password."""
    line = text.strip().partition("\n")[0].strip()
    for written in filter(None, (secret, unquote(secret))):
        line = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", "***", line)
    return line
