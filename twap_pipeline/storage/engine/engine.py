"""The synchronous engine of ingestion, migrations and reports.

Put here how the package connects to PostgreSQL through psycopg. Statements belong to the other storage packages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError

from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.storage.engine.url import parse_database_url, redacted_url

_UNREACHABLE = "check that the server runs and that DATABASE_URL is right"


_HINTS_BY_SQLSTATE = {
    "53100": "free or add space on the server's disk, then run again: what is committed is not read again",
    "53300": "raise the server's max_connections, or run fewer at a time",
    "25006": "the server is read-only: a replica, or a failover is under way",
}


"""By SQLSTATE."""


def resolve_or_start_database(configured: str | None, home: Path) -> URL:
    """Return the configured database, or the embedded one, which is started if it does not run.

    Args:
        configured: DATABASE_URL, if set.
        home: Folder under which the embedded database lives.
    """
    if configured:
        return parse_database_url(configured)
    from twap_pipeline.embedded import ensure_running

    return parse_database_url(ensure_running(home / "postgres"))


def make_engine(url: URL) -> "Engine":
    """Return an engine on psycopg 3; nothing is connected yet. Sessions run in UTC."""
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
    """Turn a refused or lost connection, or a server that cannot go on, into one line with the place and a way out.

    Raises:
        ConfigurationError: The URL has an option that libpq does not know.
        DatabaseUnavailableError: The server refused or did not answer.
    """
    try:
        yield
    except (OperationalError, InternalError, psycopg.OperationalError, psycopg.InternalError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailableError(
            f"cannot use the database {redacted_url(url)}: {_in_one_line(cause)};"
            f" {_HINTS_BY_SQLSTATE.get(getattr(cause, 'sqlstate', None) or '', _UNREACHABLE)}"
        ) from error
    except ProgrammingError as error:
        if error.statement is not None:
            raise
        raise ConfigurationError(
            f"cannot use the database {redacted_url(url)}: {_in_one_line(error.orig)}; mend DATABASE_URL"
        ) from error


def _in_one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
