"""Which PostgreSQL, and how to reach it: database URLs of every usual form, and the engine made of one.

A password never leaves a URL object except towards the driver: whatever is shown is rendered without it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import psycopg
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, ProgrammingError

from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_SCHEME = re.compile(r"^(postgres|postgresql)(\+(asyncpg|psycopg|psycopg2))?://(?P<rest>.*)$", re.DOTALL)
_HOST = re.compile(r"^(?P<host>\[[^]]+\]|[^:/?\[]*)(:(?P<port>\d+))?(/(?P<database>[^?]*))?(\?(?P<query>.*))?$")
_UNREACHABLE = "check that the server runs and that DATABASE_URL is right"
_REMEDIES = {
    "53100": "free or add space on the server's disk, then run again: what is committed is not read again",
    "53300": "raise the server's max_connections, or run fewer at a time",
    "25006": "the server is read-only: a replica, or a failover is under way",
}
"""By SQLSTATE."""

_FORMS = "postgresql://user:password@host:5432/database (also with +psycopg, +psycopg2 or +asyncpg)"


def parse_database_url(text: str) -> URL:
    """Return a URL that names no driver.

    The password may hold any character, encoded or not: it reaches from the first ``:`` to the last ``@``.

    Args:
        text: ``postgresql://…`` or ``postgres://…``, with or without ``+psycopg``, ``+psycopg2``, ``+asyncpg``.

    Raises:
        ConfigurationError: It is no such URL. The message does not repeat it, since it may hold a password.
    """
    scheme = _SCHEME.match(text.strip())
    if scheme is None:
        raise ConfigurationError(f"DATABASE_URL is not a PostgreSQL URL; expected {_FORMS}")
    credentials, at, place = scheme["rest"].rpartition("@")
    host = _HOST.match(place)
    if host is None:
        raise ConfigurationError(f"DATABASE_URL has no readable host, port or database; expected {_FORMS}")
    user, colon, password = credentials.partition(":")
    query = dict(parse_qsl(host["query"] or ""))
    if "ssl" in query:  # asyncpg's word for it
        query["sslmode"] = query.pop("ssl")
    password_in_query = query.pop("password", None)
    return URL.create(
        "postgresql",
        username=unquote(user) if at and user else None,
        password=unquote(password) if colon else password_in_query,
        host=unquote(host["host"].strip("[]")) or None,
        port=int(host["port"]) if host["port"] else None,
        database=unquote(host["database"]) if host["database"] else None,
        query=query,
    )


def shown(url: URL) -> str:
    """Return the URL as a person may see it, without its password."""
    return url.set(query={}).render_as_string(hide_password=True)


def resolve_database_url(configured: str | None, home: Path) -> URL:
    """Return the configured database, or the embedded one, which is started if it does not run.

    Args:
        configured: DATABASE_URL, if set.
        home: Folder under which the embedded database lives.
    """
    if configured:
        return parse_database_url(configured)
    from twap_pipeline.storage.embedded import ensure_running

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
def reachable(url: URL) -> Iterator[None]:
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
            f"cannot use the database {shown(url)}: {_in_one_line(cause)};"
            f" {_REMEDIES.get(getattr(cause, 'sqlstate', None) or '', _UNREACHABLE)}"
        ) from error
    except ProgrammingError as error:
        if error.statement is not None:
            raise
        raise ConfigurationError(
            f"cannot use the database {shown(url)}: {_in_one_line(error.orig)}; mend DATABASE_URL"
        ) from error


def _in_one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
