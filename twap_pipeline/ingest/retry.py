"""A transaction again, after a failure of PostgreSQL's that passes: on a new connection, a bounded number of times.

Whether the transaction that failed had committed nobody here knows: it asks the ledger when it runs again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.storage import ingest_log

TRANSACTION_ATTEMPTS = 8
"""Tries of one object's transaction; the pauses between them, each twice the last, make some 25 seconds."""

_FIRST_PAUSE_SECONDS = 0.2
_TRANSIENT_CLASSES = ("08", "40")  # connection exceptions; deadlocks and serialization failures
_TRANSIENT_SQLSTATES = (
    *("57P01", "57P02", "57P03"),  # shut down, crashed, starting up
    "53300",  # too many connections
    "25006",  # read-only: a failover is under way
)

_T = TypeVar("_T")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction; it is closed for good when PostgreSQL fails, so that the next is a new one.

    A server that has become a replica, say, keeps its old connections open and refuses to write on them.
    """
    with engine.connect() as connection:
        try:
            with connection.begin():
                yield connection
        except psycopg.errors.UniqueViolation:  # says something of the rows and nothing of the server
            raise
        except (psycopg.Error, DBAPIError):
            connection.invalidate()
            raise


def with_retries(work: Callable[[], _T]) -> _T:
    """Run a transaction until it succeeds, or fails for what does not pass, or too often.

    Args:
        work: Begins and commits by itself, on a `transaction`.

    Raises:
        psycopg.Error: What PostgreSQL said the last time; or SQLAlchemy's DBAPIError around it.
    """
    for earlier in range(TRANSACTION_ATTEMPTS - 1):
        try:
            return work()
        except (psycopg.Error, DBAPIError) as error:
            if not _is_transient(error):
                raise
        sleep(_FIRST_PAUSE_SECONDS * 2**earlier)
    return work()


@contextmanager
def explain_lock_timeout(key: str) -> Iterator[None]:
    """Say what to do when a block waited in vain for another session.

    Raises:
        DatabaseUnavailableError: Another loader has held the key, or one of its events, all the time; it may be frozen.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.errors.LockNotAvailable):
            raise
        raise DatabaseUnavailableError(
            f"{key}: another session has held it for more than {ingest_log.LOCK_WAIT_SECONDS:g} seconds; if its"
            ' process is frozen, end that session: see "A frozen run" in docs/operations.md'
        ) from error


def _is_transient(error: psycopg.Error | DBAPIError) -> bool:
    """Return whether PostgreSQL ended the transaction for a reason that passes, and not, say, for a full disk."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:  # no word from the server: the connection failed
        return isinstance(cause, psycopg.OperationalError)
    return cause.sqlstate[:2] in _TRANSIENT_CLASSES or cause.sqlstate in _TRANSIENT_SQLSTATES
