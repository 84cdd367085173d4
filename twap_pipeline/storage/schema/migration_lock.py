"""The lock between concurrent migrations, and the ``lock_timeout`` of their statements.

Migrations belong in ``alembic/``; the locks of loaders are in `ingest_log`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.storage.engine.session import is_pooled, psycopg_connection

UPGRADE_DEADLINE_SECONDS = 120.0
"""How long an upgrade waits for the migration lock."""

LOCK_TIMEOUT_SECONDS = 5.0
"""``lock_timeout`` of a migration. While a statement waits for a lock, later queries queue behind it."""

_LOCK_POLL_SECONDS = 0.2
# Without parameters psycopg uses the simple protocol: no portal keeps a snapshot. The key is "twap".
_TRY_LOCK = """
SELECT pg_try_advisory_xact_lock(x'74776170'::int), set_config('idle_in_transaction_session_timeout', '0', true)
"""


@contextmanager
def migration_lock(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> Iterator[None]:
    """Hold the advisory lock of migrations in the body of the ``with``.

    The lock is polled on its own connection. A blocking call would deadlock with CREATE INDEX CONCURRENTLY, which waits
    for every older snapshot. The transaction of the lock stays open, idle and without a snapshot: a pooler in
    transaction mode could give the lock of a session to another client.

    Raises:
        DatabaseUnavailableError: Another session did not release the lock before the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        driver = psycopg_connection(connection)
        while driver.execute(_TRY_LOCK).fetchone() == (False, "0"):
            if time.monotonic() >= deadline:
                raise DatabaseUnavailableError(
                    f"another session has held the migration lock for {deadline_seconds:g} seconds;"
                    " find it in pg_stat_activity, then try again"
                )
            time.sleep(_LOCK_POLL_SECONDS)
            driver.rollback()
        yield


@contextmanager
def lock_timeout(connection: Connection | None) -> Iterator[None]:
    """Set ``lock_timeout`` to `LOCK_TIMEOUT_SECONDS` in the body of the ``with``.

    Behind a connection pooler it does not apply to CREATE INDEX CONCURRENTLY, which runs outside of transactions: a
    parameter of the session would leak to other clients.

    Args:
        connection: The migration's; None under ``--sql``. The statements bypass SQLAlchemy, which would begin a
            transaction: Alembic would treat it as the caller's and never commit it.

    Raises:
        DatabaseUnavailableError: A statement waited longer for a lock. Its migration is rolled back.
    """
    if connection is None:
        yield
        return
    driver, value = psycopg_connection(connection), f"{LOCK_TIMEOUT_SECONDS:g}s"
    if pooled := is_pooled(connection):
        event.listen(connection, "begin", lambda _: _set_lock_timeout(driver, value, local=True))
    else:
        _set_lock_timeout(driver, value)
        driver.commit()
    try:
        yield
        if not pooled:
            _set_lock_timeout(driver, "0")
            driver.commit()
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        raise DatabaseUnavailableError(
            f"a migration waited {LOCK_TIMEOUT_SECONDS:g} seconds (lock_timeout) for a lock that a run or a query"
            f" holds: {' '.join((error.statement or '').split())[:80]}; the migration was rolled back: run it again"
            " after those sessions end (see pg_stat_activity)"
        ) from error


def _set_lock_timeout(driver: psycopg.Connection[tuple[object, ...]], value: str, *, local: bool = False) -> None:
    driver.execute("SELECT set_config('lock_timeout', %s, %s)", (value, local))
