"""Read-only asynchronous engines of the API, on psycopg.

Put here the session settings of the API's connections and the retry after a lost connection. Statements belong to
`api.queries`; the engine of ingestion is `engine.make_engine`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, Executable, Row, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from twap_pipeline.storage.engine.session import (
    connect_arguments,
    dbapi_connection,
    execute,
    is_pooled,
    set_session_parameters,
)
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.engine", "session.sql")
_POOL_RECYCLE_SECONDS = 1800
_IDLE_TIMEOUT_MS = 60_000


def make_async_engine(
    url: URL,
    *,
    pool_size: int,
    pool_timeout_seconds: float,
    statement_timeout_seconds: float,
) -> AsyncEngine:
    """Return an engine for reading statements; it connects on first use. See `session` for its sessions.

    The engine runs in AUTOCOMMIT, which saves two round trips per statement. A server-side cursor needs a transaction:
    set another ``isolation_level`` for it. Behind a pooler each statement has a transaction, to which the limits apply:
    the limits of a session would leak to other clients of the pooler.

    Args:
        url: From `url.parse_database_url`. Its options, and PG* variables, replace the timeouts.
        pool_size: Maximum number of connections. Further callers wait for a free connection.
        pool_timeout_seconds: Maximum wait for a free connection; then SQLAlchemy's `TimeoutError` is raised.
        statement_timeout_seconds: ``statement_timeout`` of each session.
    """
    engine = create_async_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        connect_args=connect_arguments(url, application_name="twap_pipeline_api", connect_timeout_seconds=5),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_seconds,
        pool_use_lifo=True,
        pool_recycle=_POOL_RECYCLE_SECONDS,
        use_native_hstore=False,
    )
    set_session_parameters(engine.sync_engine)
    _limit_sessions(engine.sync_engine, int(statement_timeout_seconds * 1000))
    return engine


def _limit_sessions(engine: Engine, statement_timeout_ms: int) -> None:
    """Make sessions read-only and limit their time; behind a pooler, the same for each transaction."""
    limits = {"statement_timeout_ms": statement_timeout_ms, "idle_timeout_ms": _IDLE_TIMEOUT_MS}

    @event.listens_for(engine, "connect")
    def limit_session(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        if not is_pooled(record):
            execute(connection, _QUERIES["limit_session"], limits)

    @event.listens_for(engine, "begin")
    def limit_transaction(connection: Connection) -> None:
        if is_pooled(connection):
            driver = dbapi_connection(connection)
            if connection.dialect.detect_autocommit_setting(driver):
                execute(driver, "BEGIN")
            execute(driver, _QUERIES["limit_transaction"], limits)


async def fetch_all(
    engine: AsyncEngine, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> Sequence[Row[Any]]:
    """Return the rows of a reading statement. If the connection is lost, run the statement once more.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The statement failed, or the second connection was lost too.
    """
    try:
        return await _fetch_all(engine, statement, parameters)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return await _fetch_all(engine, statement, parameters)


async def _fetch_all(
    engine: AsyncEngine, statement: Executable, parameters: Mapping[str, Any] | None
) -> Sequence[Row[Any]]:
    async with engine.connect() as connection:
        return (await connection.execute(statement, parameters)).all()
