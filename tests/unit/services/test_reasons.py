"""The reason why a service cannot be used: the cause, and no part of a password."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest
import requests
from botocore.exceptions import ClientError
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine

from stages.services.databases import hidden, sqlite_file
from stages.services.reasons import reason


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("401", "401: it does not know this name and password"),
        ("404", "404: something else"),
        ("500", "it answers 500"),
    ],
)
def test_the_reason_of_an_answer_over_http_is_its_status(status: str, expected: str) -> None:
    error = MlflowException(
        f"API request to endpoint /api failed with error code {status} != 200. Response body: '...'"
    )
    assert reason(error).startswith(expected)


def test_the_reason_of_an_s3_store_is_its_own_message() -> None:
    answer = {"Error": {"Code": "NoSuchBucket", "Message": "The specified bucket does not exist"}}
    refused = raised(FileNotFoundError("it is not there"), ClientError(answer, "ListObjectsV2"))
    assert reason(refused) == "NoSuchBucket: The specified bucket does not exist"


def test_the_reason_of_an_absent_server_has_no_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://name:secret-w0rd@127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(requests.ConnectionError) as refused:
        requests.get(address, timeout=5)
    error = raised(MlflowException(f"API request to {address} failed with exception {refused.value}"), refused.value)
    assert "refused" in reason(error, address)
    assert "secret" not in reason(error, address)


@pytest.mark.parametrize("secret", ["secret-w0rd", "secret@w0rd", "secret/w0rd", "sec%40ret", "secret?w0rd", "se:cret"])
def test_no_part_of_a_password_is_printed_even_if_it_is_read_as_a_host(secret: str) -> None:
    """An @ or a / that is not encoded as %40 or %2F moves the rest of the password to another part of the address."""
    address = f"postgresql://somebody:{secret}@127.0.0.1:1/optuna"
    try:
        with create_engine(address).connect():
            pass
    except Exception as error:
        message = f"{hidden(address)}: {reason(error, address)}"
    assert [part for part in ("secret", "w0rd", "sec%40ret", "sec@ret", "cret") if part in message] == []


def test_the_reason_of_an_error_without_a_message_is_its_type() -> None:
    assert reason(psycopg.OperationalError()) == "OperationalError"
    assert reason(ValueError("see https://example.org/?token=1")) == "ValueError"


def test_the_path_of_a_file_is_no_account() -> None:
    address = "sqlite:////home/ann@example.org/optuna.db?timeout=20"
    assert hidden(address) == "sqlite:////home/ann@example.org/optuna.db"
    assert reason(OSError(28, "No space left on device"), address) == "No space left on device"
    assert sqlite_file(address) == Path("/home/ann@example.org/optuna.db")
