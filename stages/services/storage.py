"""Where studies are kept: Optuna's database, and what is done where it is away."""

from __future__ import annotations

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
from optuna.storages._rdb.models import StudyUserAttributeModel as Attribute
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from stages.base.failures import Failure
from stages.base.paths import STUDIES
from stages.services.databases import hidden, make_whole, study_address
from stages.services.reasons import reason

# Optuna 5 calls these experimental, and wants heartbeats to be left to its own loop; `Study.beat` sees to them.
for _text in ("Argument ``heartbeat_interval``", r"optuna\.storages\._heartbeat\.fail_stale", "Heartbeat of storage"):
    warnings.filterwarnings("ignore", message=_text)
warnings.filterwarnings("ignore", message=r"optuna\.study\.study\.Study\.set_metric_names")  # for the dashboard
optuna.logging.set_verbosity(optuna.logging.ERROR)

HEARTBEAT = 30  # seconds between two signs of life of a trial
GRACE = 150  # seconds without one after which another machine may take it for dead
PATIENCE = 60  # seconds for which a database may be away in the middle of a study
IDENTITY = "identity"  # what a study's trials have in common, among its attributes

Broken = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What Optuna raises where its database cannot be had."""

GivenUp = optuna.exceptions.UpdateFinishedTrialError
"""What it raises where another machine took a trial for dead and has failed it."""

_Returned = TypeVar("_Returned")
_Given = ParamSpec("_Given")


def patient(work: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Try again for a while where the database is away: a restart of it must not cost the trainings under way.

    Raises:
        Failure: It stays away.
    """

    @wraps(work)
    def tried(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        until, told = time.monotonic() + PATIENCE, False
        while True:
            try:
                return work(*args, **kwargs)
            except Broken as error:
                if time.monotonic() > until:
                    raise Failure(f"the study's storage cannot be used any more ({reason(error)})") from error
                if not told:
                    told = True
                    print(f"the study's storage is away ({reason(error)}): waiting for it", file=sys.stderr, flush=True)
                time.sleep(2)

    return tried


@contextmanager
def alone(database: RDBStorage, study: int, name: str) -> Iterator[None]:
    """One process at a time decides what comes next in a study, on whatever machine it runs.

    On one machine a file is locked. Machines that share a database lock the row that holds the study's identity, which
    Optuna 5.0 writes once and nothing refers to. A machine that is gone lets go of it: the server sees to that.

    Raises:
        Broken: The database is away, or another machine does not let go.
    """
    with FileLock(STUDIES / f"{name}.lock"):
        if database.engine.dialect.name == "sqlite":
            yield
            return
        row = select(Attribute.study_user_attribute_id).where(Attribute.study_id == study, Attribute.key == IDENTITY)
        connection = database.engine.connect()
        try:
            if database.engine.dialect.name == "postgresql":  # others have limits of their own
                connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{PATIENCE}s'"))
                connection.execute(text(f"SET LOCAL lock_timeout = '{2 * PATIENCE}s'"))
            connection.execute(row.with_for_update())
            yield
        finally:
            with suppress(SQLAlchemyError):  # the database has let go of the row where it was away meanwhile
                connection.close()


def open_storage(given: str | None) -> RDBStorage:
    """Connect to the storage; a new SQLite file is made whole or not at all.

    Raises:
        Failure: It cannot be had. The address is told without user and password.
    """
    uri = study_address(given)
    STUDIES.mkdir(exist_ok=True)
    try:
        make_whole(uri, lambda partial: RDBStorage(partial).engine.dispose())
        with suppress(IntegrityError, ProgrammingError, optuna.exceptions.StorageInternalError):
            return _connect(uri)
        time.sleep(1)  # two machines may have made the tables at once, and this one was second
        return _connect(uri)
    except (*Broken, ImportError, OSError, ValueError, TypeError) as error:
        raise Failure(
            f"the study's storage {hidden(uri)} cannot be used ({reason(error, uri)}): "
            "see tune.storage and OPTUNA_STORAGE"
        ) from error


def _connect(uri: str) -> RDBStorage:
    return RDBStorage(
        uri,
        engine_kwargs={"connect_args": {"timeout": 60}} if uri.startswith("sqlite") else {"pool_pre_ping": True},
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=retry,
    )


def everything(storage: RDBStorage) -> Iterator[tuple[str, dict[str, Any], list[FrozenTrial]]]:
    """Each study of this project in a storage: its name, its identity, its trials."""
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if IDENTITY in summary.user_attrs:
            study = optuna.load_study(study_name=summary.study_name, storage=storage)
            yield summary.study_name, summary.user_attrs[IDENTITY], study.get_trials(deepcopy=False)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Ask for the point of a lost trial once more, unless it was a second try itself."""
    point = trial.params or trial.system_attrs.get("fixed_params")
    if point and "retry_of" not in trial.user_attrs:
        source = trial.user_attrs.get("source", "sampler")
        study.enqueue_trial(point, user_attrs={"source": source, "retry_of": trial.number})


OBJECTIVE = "mAP50"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
