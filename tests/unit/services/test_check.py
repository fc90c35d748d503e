"""The check of the services says what is wrong, soon and without a secret."""

from __future__ import annotations

import os
from typing import Any

import pytest
from dvc.config import ConfigError

from stages.base.failures import Failure
from stages.services import check


def test_settings_that_dvc_cannot_read_are_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(root: str) -> Any:
        raise ConfigError("Invalid line ('    secret_access_key SECRET') (matched as neither section nor keyword)")

    monkeypatch.setattr("dvc.repo.Repo", broken)
    monkeypatch.setattr(check, "_print_result", lambda name, uri, test: True)
    with pytest.raises(Failure, match="DVC cannot read its own settings: `dvc remote list` says why") as caught:
        check.check()
    assert "SECRET" not in str(caught.value)


def test_a_server_that_is_away_is_not_waited_for_for_minutes() -> None:
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 2
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 10
