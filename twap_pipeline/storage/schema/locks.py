"""The lock between concurrent migrations, and the ``lock_timeout`` of their statements.

Migrations belong in ``alembic/``; the locks of loaders are in `ingest_log`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from twap_pipeline.errors import DatabaseUnavailableError

UPGRADE_DEADLINE_SECONDS = 120.0
"""How long an upgrade waits for the migration lock."""

LOCK_TIMEOUT_SECONDS = 5.0
"""``lock_timeout`` of a migration. While a statement waits for a lock, later queries queue behind it."""

_LOCK_NOT_AVAILABLE = "55P03"
_LOCK_KEY = 0x7477_6170  # "twap"
_LOCK_POLL_SECONDS = 0.2


@contextmanager
def migration_lock(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> Iterator[None]:
    """Hold the advisory lock of migrations in the body of the ``with``.

    The lock is polled on its own connection. A blocking call would deadlock with CREATE INDEX CONCURRENTLY, which waits
    for every older transaction.

    Raises:
        DatabaseUnavailableError: Another session did not release the lock before the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
            if time.monotonic() >= deadline:
                raise DatabaseUnavailableError(
                    f"another session has held the migration lock for {deadline_seconds:g} seconds;"
                    " find it in pg_stat_activity, then try again"
                )
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})


@contextmanager
def lock_timeout(connection: Connection | None) -> Iterator[None]:
    """Set ``lock_timeout`` to `LOCK_TIMEOUT_SECONDS` in the body of the ``with``.

    Args:
        connection: The migration's; None under ``--sql``. The statement bypasses SQLAlchemy, which would begin a
            transaction: Alembic would treat it as the caller's and never commit it.

    Raises:
        DatabaseUnavailableError: A statement waited longer for a lock. Its migration is rolled back.
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
            f"a migration waited {LOCK_TIMEOUT_SECONDS:g} seconds (lock_timeout) for a lock that a run or a query"
            f" holds: {' '.join((error.statement or '').split())[:80]}; the migration was rolled back: run it again"
            " after those sessions end (see pg_stat_activity)"
        ) from error


def _set_lock_timeout(connection: Connection, value: str) -> None:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("migrations need psycopg 3 (postgresql+psycopg)")
    driver.execute("SELECT set_config('lock_timeout', %s, false)", (value,))
    driver.commit()
