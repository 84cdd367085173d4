"""Parses database URLs of every usual form, and formats them without the password.

Only the driver may receive the password of a URL object: error messages and logs use `redacted_url`.
"""

import re
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from twap_pipeline.errors import ConfigurationError

_SCHEME = re.compile(r"^(postgres|postgresql)(\+(asyncpg|psycopg|psycopg2))?://(?P<address>.*)$", re.DOTALL)
_ADDRESS = re.compile(r"^(?P<hosts>(\[[^]]+\]|[^/?\[])*)(/(?P<database>[^?]*))?(\?(?P<query>.*))?$")
_HOST = re.compile(r"^(?P<host>\[[^]]+\]|[^:/?\[]*)(:(?P<port>\d+))?$")
_DEFAULT_PORT = "5432"
_FORMS = "postgresql://user:password@host:5432/database (also with +psycopg, +psycopg2 or +asyncpg)"


def parse_database_url(text: str) -> URL:
    """Return a URL without a driver name.

    The password may contain any character, percent-encoded or not: it is the text between the first ``:`` and the last
    ``@``.

    Args:
        text: ``postgresql://…`` or ``postgres://…``, with or without ``+psycopg``, ``+psycopg2``, ``+asyncpg``.

    Raises:
        ConfigurationError: The text is not a valid URL. The message does not contain it, because of the password.
    """
    scheme = _SCHEME.match(text.strip())
    if scheme is None:
        raise ConfigurationError(f"DATABASE_URL is not a PostgreSQL URL; expected {_FORMS}")
    credentials, at, address = scheme["address"].rpartition("@")
    parts = _ADDRESS.match(address)
    hosts = [_HOST.match(host) for host in parts["hosts"].split(",")] if parts else [None]
    if parts is None or None in hosts:
        raise ConfigurationError(f"DATABASE_URL has no readable host, port or database; expected {_FORMS}")
    user, colon, password = credentials.partition(":")
    query = dict(parse_qsl(parts["query"] or ""))
    if "ssl" in query:  # asyncpg's name of the parameter
        query["sslmode"] = query.pop("ssl")
    password_in_query = query.pop("password", None)
    names = [unquote(host["host"].strip("[]")) for host in hosts if host]
    ports = [host["port"] for host in hosts if host]
    if several := len(names) > 1:  # a URL object has one host: libpq's parameters contain lists
        query = {"host": ",".join(names), "port": ",".join(port or _DEFAULT_PORT for port in ports), **query}
    return URL.create(
        "postgresql",
        username=unquote(user) if at and user else None,
        password=unquote(password) if colon else password_in_query,
        host=None if several else names[0] or None,
        port=int(ports[0]) if ports[0] and not several else None,
        database=unquote(parts["database"]) if parts["database"] else None,
        query=query,
    )


def redacted_url(url: URL) -> str:
    """Return the URL without its password and options, for messages; sockets and several hosts are included."""
    place = "&".join(f"{name}={url.query[name]}" for name in ("host", "port") if name in url.query)
    text = url.set(query={}).render_as_string(hide_password=True)
    return f"{text}?{place}" if place else text
