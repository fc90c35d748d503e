"""Servers that are not MLflow, or not well: each is one warning, in bounded time, and the run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.tracking import missed, store
from stages.tracking.missed import noted
from stages.tracking.outage import tolerated
from stages.tracking.store import Store

Answer = Callable[[BaseHTTPRequestHandler], None]


def answer_with(status: int, content: bytes, kind: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def answer_late(request: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


ANSWERS: dict[str, Answer] = {
    "500": answer_with(500, b"Internal Server Error", "text/plain"),
    "503 in JSON": answer_with(
        503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}', "application/json"
    ),
    "a page in HTML": answer_with(200, b"<html><body>Please log in</body></html>" * 100, "text/html"),
    "JSON of another program": answer_with(200, b'{"hello": "world"}', "application/json"),
    "a list": answer_with(200, b"[1, 2]", "application/json"),
    "nothing": answer_with(200, b"", "application/json"),
    "403": answer_with(403, b"Forbidden", "text/plain"),
    "too late": answer_late,
    "no answer": hang_up,
}


@pytest.fixture(params=list(ANSWERS))
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve one kind of answer to every request, and return the address."""
    answer = ANSWERS[request.param]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *values: object) -> None:
            pass

        do_GET = do_POST = do_PATCH = do_DELETE = lambda self: answer(self)  # noqa: N815 - the names of http.server

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_bad_server_is_one_warning_and_the_run_goes_on(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(missed, "HOME", tmp_path)
    monkeypatch.setattr(store, "HOME", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    begun = time.monotonic()
    with tolerated("{}; the run goes on", ["able-cat"]) as outage:
        Store().find("able-cat")
    assert outage.error is not None
    assert time.monotonic() - begun < 20
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"warning: MLflow at {address} cannot be used (")
    assert line.endswith("; the run goes on")
    assert len(line) < 500
    assert noted("able-cat") == {"warned": True}
