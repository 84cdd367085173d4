"""The synchronous psycopg engine of ingestion, migrations and reports; every entry point uses `open_database`.

Add here how the package connects to PostgreSQL through psycopg. The API's engine is in `async_engine`. Statements
belong to the other storage packages.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError

from twap_pipeline.embedded import ensure_running
from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.storage.engine.privileges import grant_hint
from twap_pipeline.storage.engine.session import connect_arguments, set_session_parameters, use_current_credentials
from twap_pipeline.storage.engine.url import parse_database_url, redacted_url

DEFAULT_APPLICATION_NAME = "twap_pipeline"

_DEFAULT_HINT = "check that the server runs and that DATABASE_URL is right"

_HINTS_BY_SQLSTATE = {
    "53100": "free or add space on the server's disk, then run again: committed objects are not read again",
    "53300": "raise the server's max_connections, or reduce the number of concurrent runs",
    "25006": "the server is read-only: it is a replica, or a failover is in progress",
    "3F000": "no schema of the search_path exists: create it with CREATE SCHEMA, or correct `options` in DATABASE_URL",
}
_POOLER_REJECTS_OPTIONS = "unsupported startup parameter"
_POOLER_HINT = (
    "a connection pooler does not accept `options` or PGOPTIONS: remove them and use ALTER ROLE ... SET instead,"
    " or connect to PostgreSQL itself"
)


@contextmanager
def open_database(
    configured: str | None,
    home: Path,
    application_name: str = DEFAULT_APPLICATION_NAME,
    read_database_url: Callable[[], str | None] | None = None,
) -> Iterator[tuple[Engine, URL]]:
    """Yield an engine and its URL; dispose of the engine at the end.

    Args:
        configured: DATABASE_URL; None or empty starts the embedded server if it does not run.
        home: Folder that contains the embedded server's data.
        application_name: See `make_engine`.
        read_database_url: Returns the present DATABASE_URL for new connections: see `use_current_credentials`. None
            keeps the credentials of ``configured``.

    Raises:
        ConfigurationError: The URL cannot be parsed, or has an option that libpq does not know.
        DatabaseUnavailableError: The server refused or lost the connection, in the body of the ``with`` too.
        EmbeddedDatabaseError: The embedded server could not be started.
    """
    url = resolve_or_start_database(configured, home)
    engine = make_engine(url, application_name)
    if configured and read_database_url is not None:
        use_current_credentials(engine, read_database_url)
    try:
        with translate_connection_errors(url):
            yield engine, url
    finally:
        engine.dispose()


def resolve_or_start_database(configured: str | None, home: Path) -> URL:
    """Return the configured database's URL, or start the embedded server and return its URL.

    Args:
        configured: DATABASE_URL; None or empty selects the embedded server.
        home: Folder that contains the embedded server's data.
    """
    return parse_database_url(configured or ensure_running(home / "postgres"))


def make_engine(url: URL, application_name: str = DEFAULT_APPLICATION_NAME) -> Engine:
    """Return an engine that uses psycopg 3 and has no open connection. See `session` for its sessions.

    Args:
        url: From `url.parse_database_url`.
        application_name: Name of the process in ``pg_stat_activity``, unless the URL or PGAPPNAME has one.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args=connect_arguments(url, application_name=application_name, connect_timeout_seconds=10),
    )
    set_session_parameters(engine)
    return engine


@contextmanager
def translate_connection_errors(url: URL) -> Iterator[None]:
    """Translate a database error into one line with the URL without its password, the cause and a hint.

    Raises:
        ConfigurationError: The URL has an option that libpq does not know.
        DatabaseUnavailableError: The server refused or lost the connection, cannot continue, or denied permission.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        place = f"cannot use the database {redacted_url(url)}: {_describe(cause)}"
        if isinstance(error, ProgrammingError) and error.statement is None and _sqlstate(cause) is None:
            raise ConfigurationError(f"{place}; correct DATABASE_URL") from error
        hint = _hint(error, url)
        if hint is None:
            raise
        raise DatabaseUnavailableError(f"{place}; {hint}") from error


def _hint(error: DBAPIError | psycopg.Error, url: URL) -> str | None:
    """Return what to do about an error; None if the statement, and not the database, is wrong."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return grant_hint(str(cause).splitlines()[0], url.username)
    if hint := _HINTS_BY_SQLSTATE.get(_sqlstate(cause) or ""):
        return hint
    if isinstance(error, OperationalError | InternalError | psycopg.OperationalError | psycopg.InternalError):
        return _POOLER_HINT if _POOLER_REJECTS_OPTIONS in str(cause) else _DEFAULT_HINT
    return None


def _sqlstate(error: BaseException | None) -> str | None:
    return getattr(error, "sqlstate", None)


def _describe(error: BaseException | None) -> str:
    """Return the message in one line; of a denied permission without the excerpt of the statement."""
    message = str(error)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        message = error.diag.message_primary or message
    return " ".join(message.split())
