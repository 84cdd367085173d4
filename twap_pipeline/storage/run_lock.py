"""The advisory lock that a run holds while it works: PostgreSQL releases it when the process or its host ends.

The lock belongs to a transaction that stays open, so that it also works behind a connection pooler in transaction mode.
Between two statements the transaction is idle and has no snapshot: it delays neither VACUUM nor CREATE INDEX
CONCURRENTLY. Which runs are locked, and what follows from a lock that is free, is decided in ``defs.lost_runs``.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from twap_pipeline.storage.sql_files import load_queries

HEARTBEAT_SECONDS = 5.0
"""Time between two statements of the transaction, and between two attempts to lock again after an error."""

IDLE_TIMEOUT = "20s"
"""``idle_in_transaction_session_timeout`` of the transaction: releases the lock of a host that is unreachable."""

_STOP_SECONDS = 5.0
_QUERIES = load_queries("twap_pipeline.storage", "run_lock.sql")

log = logging.getLogger(__name__)


@contextmanager
def run_lock(engine: Engine, run_id: str) -> Iterator[None]:
    """Hold the lock of a run in the body of the ``with``, on a connection and in a thread of its own.

    The lock does not protect data: the body also continues while the database is not reachable. A lost lock is taken
    again as soon as the database accepts connections.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_hold, args=(engine, run_id, stop), name=f"run-lock-{run_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_SECONDS)


def locked_runs(connection: Connection, run_ids: Collection[str]) -> set[str]:
    """Return those of the runs whose lock a session of this database has."""
    return set(connection.scalars(text(_QUERIES["locked"]), {"run_ids": list(run_ids)}))


def database_identity(connection: Connection) -> str:
    """Return a text that two connections have in common if and only if they use the same database."""
    return str(connection.scalar(text(_QUERIES["database_identity"])))


def _hold(engine: Engine, run_id: str, stop: threading.Event) -> None:
    parameters = {
        "run_id": run_id,
        "application_name": f"twap_pipeline_lock_{run_id[:8]}",
        "idle_timeout": IDLE_TIMEOUT,
    }
    while not stop.is_set():
        try:
            with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
                connection.execute(text(_QUERIES["lock"]), parameters)
                connection.execute(text(_QUERIES["keep"]))
                while not stop.wait(HEARTBEAT_SECONDS):
                    connection.execute(text(_QUERIES["keep"]))
        except (DBAPIError, psycopg.Error) as error:
            log.warning("the lock of run %s is lost: %s; it is taken again", run_id, type(error).__name__)
            stop.wait(HEARTBEAT_SECONDS)
