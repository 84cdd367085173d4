"""The session of every connection to PostgreSQL: libpq arguments, session parameters, and connection poolers.

`make_engine` and `make_async_engine` use it, so every connection has the same encoding, time zone and search path.
Options of the URL and PG* variables of libpq apply, except where correctness needs one value. Add a parameter here only
if wrong data could result from another value.

Parameters are set after the connection is made, because PgBouncer rejects the startup parameter ``options``. PgBouncer
restores these parameters for each client; others would leak to other clients of a pooler in transaction mode.
"""

import logging
import secrets
from collections.abc import Callable, Mapping

import psycopg
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.sql_files import load_queries

Rows = list[tuple[object, ...]]

_QUERIES = load_queries("twap_pipeline.storage.engine", "session.sql")
_logger = logging.getLogger(__name__)
_IS_POOLED = "twap_is_pooled"


def connect_arguments(url: URL, *, application_name: str, connect_timeout_seconds: int) -> dict[str, object]:
    """Return the arguments of `psycopg.connect` that override or complement the options of the URL.

    ``client_encoding`` is UTF8, whatever the URL, PGCLIENTENCODING and the database say: rows are sent as UTF-8.
    Statements are not prepared on the server: PgBouncer in transaction mode would run them on another connection, and
    a migration makes their plans stale.

    Args:
        url: From `url.parse_database_url`.
        application_name: Used if neither the URL nor PGAPPNAME has one.
        connect_timeout_seconds: Used if neither the URL nor PGCONNECT_TIMEOUT has one.
    """
    arguments: dict[str, object] = {
        "client_encoding": "UTF8",
        "fallback_application_name": application_name,
        "prepare_threshold": None,
    }
    in_environment = {option.keyword for option in psycopg.pq.Conninfo.get_defaults() if option.val}
    if "connect_timeout" not in url.query and b"connect_timeout" not in in_environment:
        arguments["connect_timeout"] = connect_timeout_seconds
    return arguments


def set_session_parameters(engine: Engine) -> None:
    """Set the parameters of each new connection of the engine, and detect whether a pooler is in between."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        ((backend_pid, *_),) = execute(connection, _QUERIES["set_parameters"])
        connection.commit()
        driver = record.driver_connection
        if not isinstance(driver, psycopg.Connection | psycopg.AsyncConnection):
            raise TypeError("the pipeline needs psycopg 3 (postgresql+psycopg)")
        # A pooler sends its clients a number of its own.
        record.info[_IS_POOLED] = backend_pid != driver.info.backend_pid


def use_current_credentials(engine: Engine, read_database_url: Callable[[], str | None]) -> None:
    """Make each new connection of the engine use the user and password that DATABASE_URL has then.

    So a password can be replaced while the process runs: open connections stay, later ones use the new password.
    If the settings cannot be read at that time, as in the middle of a replacement, the last credentials are used.

    Args:
        engine: The engine; its host and database stay the same.
        read_database_url: Returns the present DATABASE_URL.
    """

    @event.listens_for(engine, "do_connect")
    def replace_credentials(_dialect: object, _record: object, _args: object, parameters: dict[str, object]) -> None:
        try:
            url = parse_database_url(read_database_url() or "")
        except ConfigurationError as error:
            _logger.warning("cannot read DATABASE_URL for a new connection, using the last credentials: %s", error)
            return
        parameters.update(user=url.username, password=url.password)


def execute(connection: DBAPIConnection, statement: str, parameters: Mapping[str, object] | None = None) -> Rows:
    """Execute a statement without SQLAlchemy, whose events may be running; return its rows."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        cursor.close()


def is_pooled(connection: Connection | ConnectionPoolEntry) -> bool:
    """Return whether the server process is another one than the connection was made to: PgBouncer or the like."""
    return bool(connection.info[_IS_POOLED])


def dbapi_connection(connection: Connection) -> DBAPIConnection:
    """Return the connection for `execute`.

    Raises:
        RuntimeError: The connection was invalidated.
    """
    if connection.connection.dbapi_connection is None:
        raise RuntimeError("the connection was invalidated")
    return connection.connection.dbapi_connection


def psycopg_connection(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    """Return the connection of psycopg; its statements bypass SQLAlchemy.

    Raises:
        TypeError: The engine uses another driver.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("this needs psycopg 3 (postgresql+psycopg)")
    return driver


def require_one_session(connection: Connection, purpose: str) -> None:
    """Make every transaction of a connection fail that does not run in the server session of this call.

    A pooler in transaction mode may execute each transaction in another session, without the temporary tables of the
    former.

    Args:
        connection: Not in a transaction.
        purpose: What needs the session, for the error message.

    Raises:
        ConfigurationError: Raised at the begin of such a transaction.
    """
    if not is_pooled(connection):
        return
    marker = secrets.token_hex(8)
    execute(dbapi_connection(connection), _QUERIES["mark_session"], {"marker": marker})
    dbapi_connection(connection).commit()

    @event.listens_for(connection, "begin")
    def require_same_session(connection: Connection) -> None:
        try:
            is_same = execute(dbapi_connection(connection), _QUERIES["session_marker"]) == [(marker,)]
        except psycopg.errors.UndefinedObject:
            is_same = False
        if not is_same:
            raise ConfigurationError(
                f"{purpose} needs one server session, but the connection pooler in front of PostgreSQL changes it"
                " (transaction mode); set DATABASE_URL to PostgreSQL itself, or to a pool in session mode"
            )
