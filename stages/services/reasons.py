"""The reason why a service cannot be used, in one line and without the secrets in its address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from stages.base.failures import Failure

LONGEST = 300  # characters: the text of an error may hold a whole page

_STATUS = {
    "401": "401: it does not know this name and password",
    "403": "403: it refuses this name, password or Host header",
    "404": "404: something else answers there",
}
_SPLITS = re.compile(r"[\s/?#@:\[\]]")  # characters that end a name or password if they are not encoded


def reason(error: BaseException, address: str = "") -> str:
    """Return the cause of an error in one line.

    Args:
        error: An exception of a driver, of MLflow or of an S3 client.
        address: The address of the service. Its password is replaced in the line.
    """
    account = "" if address.startswith("sqlite") else address.partition("://")[2].rpartition("@")[0]
    user, _, secret = account.partition(":")
    if _SPLITS.search(user + secret):  # a part of the password would be read as the host, and printed
        return "in an address the characters / ? # @ : of a name or password are written %2F %3F %23 %40 %3A"
    chain = list(_causes(error))
    for cause in chain:
        if status := re.search(r"error code (\d{3})", str(cause)):  # MLflow's text for an answer over HTTP
            return _STATUS.get(status[1], f"it answers {status[1]}")
        answer = getattr(cause, "response", None)  # an exception of an S3 client has it
        if isinstance(answer, dict) and "Error" in answer:
            details = answer["Error"]
            return _line(f"{details.get('Code', '')}: {details.get('Message', '')}", secret)
    last = chain[-1]
    line = _line(getattr(last, "strerror", None) or str(last), secret)
    return line if line and "://" not in line else type(error).__name__


def unreadable_settings() -> Failure:
    """Return the failure for settings that DVC cannot read. The text of its error may quote a line with a key."""
    return Failure("DVC cannot read its own settings: `dvc remote list` says why")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; the first cause comes last."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        yield error
        context = None if error.__suppress_context__ else error.__context__
        causes = (getattr(error, "reason", None), getattr(error, "orig", None), error.__cause__, context)
        error = next((cause for cause in causes if isinstance(cause, BaseException)), error)


def _line(text: str, secret: str) -> str:
    """Return the first line of a message, without the password; the start of a long one."""
    line = text.strip().partition("\n")[0].strip()
    for form in filter(None, (secret, unquote(secret))):
        line = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "***", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
