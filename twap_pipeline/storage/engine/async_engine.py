"""The query side's way to PostgreSQL: engines on asyncpg, which read and never write.

Here belong what asyncpg wants to be told otherwise than libpq, the limits of a session, and the one retry that a
migration under load makes necessary. The queries are in `queries`; the engine of ingestion is `database.make_engine`.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import asyncpg
from sqlalchemy import URL, Executable, Row
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from twap_pipeline.errors import ConfigurationError

_TLS_OPTIONS = frozenset(
    {
        "sslmode",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
    }
)
"""Options of libpq that asyncpg reads from a DSN and from nowhere else."""

_CONNECT_KWARGS = {"passfile": "passfile", "service": "service", "target_session_attrs": "target_session_attrs"}
_IGNORED_OPTIONS = re.compile(r"keepalives.*|tcp_user_timeout|gssencmode|channel_binding|client_encoding")
"""Options of libpq about its own sockets and handshakes; asyncpg has no such thing and needs none."""

_SETTING = re.compile(r"-c\s*([\w.]+)=((?:\\.|\S)*)")


def make_async_engine(
    url: URL,
    *,
    pool_size: int,
    pool_timeout_seconds: float,
    statement_timeout_seconds: float,
    idle_timeout_seconds: float = 60,
    connect_timeout_seconds: float = 5,
) -> AsyncEngine:
    """Return an engine on asyncpg for reading; nothing is connected yet. Sessions run in UTC.

    Each statement is its own transaction, and saves its way there and back. A cursor needs one of several statements:
    ask for another ``isolation_level``.

    Args:
        url: From `database.parse_database_url`; its options may be libpq's.
        pool_size: Connections at most; more callers wait.
        pool_timeout_seconds: How long they wait, before SQLAlchemy's `TimeoutError`.
        statement_timeout_seconds: After which PostgreSQL cancels a statement.
        idle_timeout_seconds: After which PostgreSQL ends a session that idles within a transaction.
        connect_timeout_seconds: For a new connection; the URL's ``connect_timeout`` goes before.

    Raises:
        ConfigurationError: The URL has an option that asyncpg cannot follow.
    """
    arguments = connect_arguments(url)
    arguments["server_settings"] = {
        "application_name": "twap_pipeline_api",
        "timezone": "UTC",
        "default_transaction_read_only": "on",
        "statement_timeout": str(int(statement_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(int(idle_timeout_seconds * 1000)),
        **arguments["server_settings"],
    }
    arguments.setdefault("timeout", connect_timeout_seconds)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(**arguments)

    return create_async_engine(
        "postgresql+asyncpg://",
        isolation_level="AUTOCOMMIT",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_seconds,
        pool_use_lifo=True,
        pool_recycle=1800,
    )


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return what `asyncpg.connect` wants for a URL whose options are libpq's.

    Raises:
        ConfigurationError: An option has no counterpart; it is named, its value is not shown.
    """
    options = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    host = options.pop("host", None) or url.host
    port = options.pop("port", None) or url.port
    settings = dict(_SETTING.findall(options.pop("options", "")))
    if name := options.pop("application_name", None):
        settings["application_name"] = name
    arguments: dict[str, Any] = {
        "host": host.split(",") if host and "," in host else host,
        "port": [int(part) for part in port.split(",")] if isinstance(port, str) else port,
        "user": options.pop("user", None) or url.username,
        "password": url.password,
        "database": options.pop("dbname", None) or url.database,
        "server_settings": settings,
    }
    tls = {name: options.pop(name) for name in sorted(_TLS_OPTIONS & options.keys())}
    if tls:
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}"
    if seconds := options.pop("connect_timeout", None):
        arguments["timeout"] = float(seconds)
    for name in sorted(_CONNECT_KWARGS.keys() & options.keys()):
        arguments[_CONNECT_KWARGS[name]] = options.pop(name)
    if unknown := sorted(name for name in options if not _IGNORED_OPTIONS.fullmatch(name)):
        raise ConfigurationError(f"DATABASE_URL has options that the API's driver cannot follow: {', '.join(unknown)}")
    return {name: value for name, value in arguments.items() if value is not None}


async def read(engine: AsyncEngine, statement: Executable) -> Sequence[Row[Any]]:
    """Return a statement's rows.

    A reading statement can be sent again, and is, once: when a migration made stale what the driver remembered of it,
    and when the connection turns out to be lost.
    """
    try:
        return await _read(engine, statement)
    except DBAPIError as error:
        if not (error.connection_invalidated or _is_stale(error)):
            raise
    return await _read(engine, statement)


async def _read(engine: AsyncEngine, statement: Executable) -> Sequence[Row[Any]]:
    async with engine.connect() as connection:
        return (await connection.execute(statement)).all()


def _is_stale(error: DBAPIError) -> bool:
    """Whether the driver had prepared the statement for a table that has changed since."""
    return isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError)
