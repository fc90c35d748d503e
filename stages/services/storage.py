"""The storage of studies: Optuna's database, a lock for one study, and repetition while the database is unavailable."""

from __future__ import annotations

import hashlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from stages.base.failures import Failure
from stages.base.paths import STUDIES
from stages.services.databases import hidden, make_whole, study_address
from stages.services.reasons import reason

# Optuna 5 calls heartbeats experimental and expects `Study.optimize` to send them; here the search loop sends them.
for _text in ("Argument ``heartbeat_interval``", r"optuna\.storages\._heartbeat\.fail_stale", "Heartbeat of storage"):
    warnings.filterwarnings("ignore", message=_text)
warnings.filterwarnings("ignore", message=r"optuna\.study\.study\.Study\.set_metric_names")  # for the dashboard
optuna.logging.set_verbosity(optuna.logging.ERROR)

HEARTBEAT = 30  # seconds between two heartbeats of a running trial
GRACE = 150  # seconds without a heartbeat after which another machine may fail the trial
MAX_LOSSES = 5  # attempts at one point that may be lost with their machine
PATIENCE = 60  # seconds for which the database may be unavailable during a study
IDENTITY = "identity"  # the study attribute that holds the settings that all its trials share

OBJECTIVE = "mAP50"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

StorageUnavailable = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""Exceptions that Optuna raises if its database is unavailable."""

TrialEnded = optuna.exceptions.UpdateFinishedTrialError
"""The exception that Optuna raises if another machine has already failed the trial."""

_Returned = TypeVar("_Returned")
_Arguments = ParamSpec("_Arguments")


def wait_for_storage(work: Callable[_Arguments, _Returned]) -> Callable[_Arguments, _Returned]:
    """Repeat a function for PATIENCE seconds while the database is unavailable.

    Thus a restart of the database does not lose the trainings that are running.

    Raises:
        Failure: The database is still unavailable after that time.
    """

    @wraps(work)
    def repeated(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Returned:
        deadline, warned = time.monotonic() + PATIENCE, False
        while True:
            try:
                return work(*args, **kwargs)
            except StorageUnavailable as error:
                if time.monotonic() > deadline:
                    raise Failure(f"the study's storage cannot be used any more ({reason(error)})") from error
                if not warned:
                    warned = True
                    print(
                        f"the study's storage is not available ({reason(error)}): waiting for it",
                        file=sys.stderr,
                        flush=True,
                    )
                time.sleep(2)

    return repeated


@contextmanager
def study_lock(database: RDBStorage, name: str) -> Iterator[None]:
    """Hold the lock of a study, so that one process at a time decides which trial comes next.

    Processes on one machine share a lock file. Machines that share a PostgreSQL database also share an advisory lock.
    Other databases have the lock file only: use them from one machine.

    Args:
        database: The storage of the study.
        name: The name of the study.

    Raises:
        StorageUnavailable: The database is unavailable, or another machine has held the lock for 2 * PATIENCE seconds.
    """
    with FileLock(STUDIES / f"{name}.lock"):
        if database.engine.dialect.name == "postgresql":
            with _advisory_lock(database.engine, lock_key(name)):
                yield
        else:
            yield


def lock_key(name: str) -> int:
    """Return the key of a study's advisory lock: a signed number of 64 bits, as PostgreSQL requires it."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


@contextmanager
def _advisory_lock(engine: Engine, key: int) -> Iterator[None]:
    """Hold an advisory lock of PostgreSQL in a transaction of its own.

    The lock ends with the transaction. If this machine loses its power or its network, the server ends the idle
    transaction after PATIENCE seconds, and another machine can continue.
    """
    connection = engine.connect()
    try:
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{PATIENCE}s'"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{2 * PATIENCE}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield
    finally:
        with suppress(SQLAlchemyError):  # if the connection was lost, the server has already released the lock
            connection.close()


def open_storage(setting: str | None) -> RDBStorage:
    """Connect to the storage of studies. A new SQLite file appears only when it is complete.

    Args:
        setting: `tune.storage` of params.yaml. OPTUNA_STORAGE in the environment overrides it.

    Raises:
        Failure: The storage cannot be used. The message shows its address without user and password.
    """
    uri = study_address(setting)
    STUDIES.mkdir(exist_ok=True)
    try:
        make_whole(uri, lambda partial: RDBStorage(partial).engine.dispose())
        with suppress(IntegrityError, ProgrammingError, optuna.exceptions.StorageInternalError):
            return _connect(uri)
        time.sleep(1)  # if two machines create the tables at once, the second one fails and has to try again
        return _connect(uri)
    except (*StorageUnavailable, ImportError, OSError, ValueError, TypeError) as error:
        raise Failure(
            f"the study's storage {hidden(uri)} cannot be used ({reason(error, uri)}): "
            "see tune.storage and OPTUNA_STORAGE"
        ) from error


def _connect(uri: str) -> RDBStorage:
    return RDBStorage(
        uri,
        engine_kwargs={"connect_args": {"timeout": PATIENCE}} if uri.startswith("sqlite") else {"pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=retry,
    )


def all_studies(storage: RDBStorage) -> Iterator[tuple[str, dict[str, Any], list[FrozenTrial]]]:
    """Yield the name, the identity and the trials of each study of this project in a storage."""
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if IDENTITY in summary.user_attrs:
            study = optuna.load_study(study_name=summary.study_name, storage=storage)
            yield summary.study_name, summary.user_attrs[IDENTITY], study.get_trials(deepcopy=False)


def broken_limits(trial: FrozenTrial) -> list[str]:
    """Return the names of the limits of its study that a complete trial breaks: Optuna has them as constraints."""
    return [name for name, over in trial.constraints.items() if over > 0]


def retry(study: optuna.Study, trial: FrozenTrial, is_machine_lost: bool = False) -> None:
    """Enqueue the parameters of a lost trial again, unless the trial was a second attempt itself.

    If the machine of the worker was lost, the next attempt does not count as the second one, up to MAX_LOSSES times: a
    point that ends every machine must not end the whole cluster.

    Optuna's own RetryHeartbeatStaleTrialCallback would copy every attribute, also the name of the lost trial.
    """
    point = trial.params or trial.system_attrs.get("fixed_params")
    facts = trial.user_attrs
    attempts: dict[str, Any] = {key: facts[key] for key in ("retry_of", "losses") if key in facts}
    if is_machine_lost and attempts.get("losses", 0) < MAX_LOSSES:
        attempts["losses"] = attempts.get("losses", 0) + 1
    elif "retry_of" in attempts:
        return
    else:
        attempts["retry_of"] = trial.number
    if point:
        study.enqueue_trial(point, user_attrs={"source": facts.get("source", "sampler"), **attempts})
