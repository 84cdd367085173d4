"""The synchronous psycopg engine of ingestion, migrations and reports; every entry point uses `open_database`.

Add here how the package connects to PostgreSQL through psycopg. The API's engine is in `async_engine`. Statements
belong to the other storage packages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError

from twap_pipeline.embedded import ensure_running
from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.storage.engine.url import parse_database_url, redacted_url

_DEFAULT_HINT = "check that the server runs and that DATABASE_URL is right"

_HINTS_BY_SQLSTATE = {
    "53100": "free or add space on the server's disk, then run again: committed objects are not read again",
    "53300": "raise the server's max_connections, or reduce the number of concurrent runs",
    "25006": "the server is read-only: it is a replica, or a failover is in progress",
}


@contextmanager
def open_database(configured: str | None, home: Path) -> Iterator[tuple[Engine, URL]]:
    """Yield an engine and its URL; dispose of the engine at the end.

    Args:
        configured: DATABASE_URL; None or empty starts the embedded server if it does not run.
        home: Folder that contains the embedded server's data.

    Raises:
        ConfigurationError: The URL cannot be parsed, or has an option that libpq does not know.
        DatabaseUnavailableError: The server refused or lost the connection, in the body of the ``with`` too.
        EmbeddedDatabaseError: The embedded server could not be started.
    """
    url = resolve_or_start_database(configured, home)
    engine = make_engine(url)
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


def make_engine(url: URL) -> Engine:
    """Return an engine that uses psycopg 3 and has no open connection. Sessions run in UTC."""
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "twap_pipeline",
            "options": "-c timezone=UTC -c datestyle=ISO -c standard_conforming_strings=on",
        },
    )


@contextmanager
def translate_connection_errors(url: URL) -> Iterator[None]:
    """Translate a database error into one line with the URL without its password, the cause and a hint.

    Raises:
        ConfigurationError: The URL has an option that libpq does not know.
        DatabaseUnavailableError: The server refused or lost the connection, or cannot continue.
    """
    try:
        yield
    except (OperationalError, InternalError, psycopg.OperationalError, psycopg.InternalError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        hint = _HINTS_BY_SQLSTATE.get(getattr(cause, "sqlstate", None) or "", _DEFAULT_HINT)
        raise DatabaseUnavailableError(
            f"cannot use the database {redacted_url(url)}: {_in_one_line(cause)}; {hint}"
        ) from error
    except ProgrammingError as error:
        if error.statement is not None:
            raise
        raise ConfigurationError(
            f"cannot use the database {redacted_url(url)}: {_in_one_line(error.orig)}; correct DATABASE_URL"
        ) from error


def _in_one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
