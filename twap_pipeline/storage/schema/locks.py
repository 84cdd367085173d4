"""One deployer at a time, who gives up rather than keep readers and writers waiting.

Here belong the lock between deployers and the bound on waiting for everybody else; what a migration does is in
``alembic/``.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from twap_pipeline.errors import DatabaseUnavailableError

UPGRADE_DEADLINE_SECONDS = 120.0
"""How long an upgrade waits for another deployer's to end."""

LOCK_TIMEOUT_SECONDS = 5.0
"""How long a step of a migration waits for a lock; while it waits, all who come after it wait behind it."""

_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_KEY = 0x7477_6170  # "twap"
_LOCK_POLL_SECONDS = 0.2


@contextmanager
def migration_lock(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> Iterator[None]:
    """Let nobody else change the schema for the length of a block.

    The lock is polled on a connection of its own: a blocking one would hang CREATE INDEX CONCURRENTLY, which waits for
    every transaction older than itself.

    Raises:
        DatabaseUnavailableError: Another deployer held the lock past the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
            if time.monotonic() >= deadline:
                raise DatabaseUnavailableError(
                    f"another upgrade has held the migration lock for {deadline_seconds:g} seconds;"
                    " look at pg_stat_activity for who does, then try again"
                )
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})


@contextmanager
def lock_timeout(connection: Connection | None) -> Iterator[None]:
    """Let no statement of a block wait for a lock longer than `LOCK_TIMEOUT_SECONDS`.

    Args:
        connection: The migration's; none under ``--sql``. The timeout is set past SQLAlchemy, which would otherwise
            begin a transaction that Alembic takes for the caller's and never commits.

    Raises:
        DatabaseUnavailableError: A lock was not to be had in that time.
    """
    if connection is None:
        yield
        return
    _set_lock_timeout(connection, f"{LOCK_TIMEOUT_SECONDS:g}s")
    try:
        yield
        _set_lock_timeout(connection, "0")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise DatabaseUnavailableError(
            f"a step of the migration waited {LOCK_TIMEOUT_SECONDS:g} seconds for a lock that a run or a read holds,"
            f" and gave up so as not to block others: {' '.join((error.statement or '').split())[:80]}; nothing of the"
            " step stays: run the migration again when they are done (pg_stat_activity shows them)"
        ) from error


def _set_lock_timeout(connection: Connection, value: str) -> None:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("migrations run through psycopg 3 (postgresql+psycopg)")
    driver.execute("SELECT set_config('lock_timeout', %s, false)", (value,))
    driver.commit()
