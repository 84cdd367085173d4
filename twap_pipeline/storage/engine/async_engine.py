"""Read-only asynchronous engines of the API, on psycopg.

Put here the session settings of the API's connections and the retry after a lost connection. Statements belong to
`api.queries`; the engine of ingestion is `engine.make_engine`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, Executable, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_POOL_RECYCLE_SECONDS = 1800


def make_async_engine(
    url: URL,
    *,
    pool_size: int,
    pool_timeout_seconds: float,
    statement_timeout_seconds: float,
    idle_timeout_seconds: float = 60,
    connect_timeout_seconds: int = 5,
) -> AsyncEngine:
    """Return an engine for reading statements; it connects on first use. Sessions run in UTC.

    The engine runs in AUTOCOMMIT, which saves two round trips per statement. A server-side cursor needs a transaction:
    set another ``isolation_level`` for it. Prepared statements are disabled: PgBouncer in transaction mode does not
    support them, and a migration makes their plans stale.

    Args:
        url: From `url.parse_database_url`. libpq reads its options, and they replace the defaults below.
        pool_size: Maximum number of connections. Further callers wait for a free connection.
        pool_timeout_seconds: Maximum wait for a free connection; then SQLAlchemy's `TimeoutError` is raised.
        statement_timeout_seconds: ``statement_timeout`` of each session.
        idle_timeout_seconds: ``idle_in_transaction_session_timeout`` of each session.
        connect_timeout_seconds: ``connect_timeout`` per host.
    """
    settings = {
        "timezone": "UTC",
        "default_transaction_read_only": "on",
        "statement_timeout": str(int(statement_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(int(idle_timeout_seconds * 1000)),
    }
    defaults = {
        "application_name": "twap_pipeline_api",
        "connect_timeout": str(connect_timeout_seconds),
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    options = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    if "options" in options:  # PostgreSQL applies the last value of a setting
        options["options"] = f"{defaults['options']} {options['options']}"
    return create_async_engine(
        url.set(drivername="postgresql+psycopg", query={**defaults, **options}),
        isolation_level="AUTOCOMMIT",
        connect_args={"prepare_threshold": None},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_seconds,
        pool_use_lifo=True,
        pool_recycle=_POOL_RECYCLE_SECONDS,
        use_native_hstore=False,
    )


async def fetch_all(engine: AsyncEngine, statement: Executable) -> Sequence[Row[Any]]:
    """Return the rows of a reading statement. If the connection is lost, run the statement once more.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The statement failed, or the second connection was lost too.
    """
    try:
        return await _fetch_all(engine, statement)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return await _fetch_all(engine, statement)


async def _fetch_all(engine: AsyncEngine, statement: Executable) -> Sequence[Row[Any]]:
    async with engine.connect() as connection:
        return (await connection.execute(statement)).all()
