"""Database URLs: every usual form is read into one URL object, and shown without its password.

A password never leaves a URL object except towards the driver.
"""

import re
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from twap_pipeline.errors import ConfigurationError

_SCHEME = re.compile(r"^(postgres|postgresql)(\+(asyncpg|psycopg|psycopg2))?://(?P<rest>.*)$", re.DOTALL)


_HOST = re.compile(r"^(?P<host>\[[^]]+\]|[^:/?\[]*)(:(?P<port>\d+))?(/(?P<database>[^?]*))?(\?(?P<query>.*))?$")


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


def redacted_url(url: URL) -> str:
    """Return the URL as a person may see it, without its password."""
    return url.set(query={}).render_as_string(hide_password=True)
