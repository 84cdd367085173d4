"""Retries of a transaction that PostgreSQL ended for a transient reason, on a new connection.

A failed COMMIT may have succeeded on the server. Callers must be idempotent, as `load._write` is: it reads the log
entry again, under the lock of the object.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.storage import ingest_log

log = logging.getLogger(__name__)

TRANSACTION_ATTEMPTS = 8
"""Attempts per transaction. The pauses between them double from 0.2 seconds and add up to some 25 seconds."""

_TRANSIENT_CLASSES = ("08", "40")  # connection exceptions; deadlocks and serialization failures
_TRANSIENT_SQLSTATES = (
    *("57P01", "57P02", "57P03"),  # shut down, crashed, starting up
    "53300",  # too many connections
    "25006",  # read-only: a failover is in progress
)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction, and invalidate the connection if PostgreSQL raises an error.

    A retry thus uses a new connection. A server that became a replica keeps its old connections, but rejects writes.
    """
    with engine.connect() as connection:
        try:
            with connection.begin():
                yield connection
        except (psycopg.Error, DBAPIError):
            connection.invalidate()
            raise


def _is_transient(error: BaseException) -> bool:
    """Return whether PostgreSQL ended the transaction for a reason that passes; a full disk, for example, does not."""
    cause = _driver_error(error)
    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:  # not from the server: the connection failed
        return isinstance(cause, psycopg.OperationalError)
    return cause.sqlstate[:2] in _TRANSIENT_CLASSES or cause.sqlstate in _TRANSIENT_SQLSTATES


def _driver_error(error: BaseException | None) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _log_retry(state: RetryCallState) -> None:
    """Log the failed attempt without the text of its error, which can contain values of rows."""
    cause = _driver_error(state.outcome.exception()) if state.outcome else None
    fields = {"attempt": state.attempt_number, "sqlstate": getattr(cause, "sqlstate", None)}
    log.warning("transaction failed and is repeated: %s", type(cause).__name__, extra=fields)


with_retries = Retrying(
    retry=retry_if_exception(_is_transient),
    stop=stop_after_attempt(TRANSACTION_ATTEMPTS),
    wait=wait_exponential(multiplier=0.2),
    before_sleep=_log_retry,
    reraise=True,
)
"""Calls a function until it succeeds, raises a permanent error, or has failed `TRANSACTION_ATTEMPTS` times.

The function begins and commits its own `transaction`. The last error is raised unchanged: psycopg's, or SQLAlchemy's
DBAPIError that wraps it.
"""


@contextmanager
def explain_lock_timeout(key: str) -> Iterator[None]:
    """Translate a ``lock_timeout`` within the block into an error that names the object and the remedy.

    Raises:
        DatabaseUnavailableError: Another session locked the object, or one of its rows, for the whole time.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        if not isinstance(_driver_error(error), psycopg.errors.LockNotAvailable):
            raise
        raise DatabaseUnavailableError(
            f"{key}: another session has locked it for more than {ingest_log.LOCK_WAIT_SECONDS:g} seconds; if its"
            ' process hangs, end that session: see "Hung runs" in docs/how-to/runbook.md'
        ) from error
