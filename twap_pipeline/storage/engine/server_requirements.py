"""What the package needs of a PostgreSQL server: its version and the encoding of the database."""

from sqlalchemy import Connection

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.session import psycopg_connection

MINIMUM_SERVER_VERSION = 14
"""Oldest supported major version of PostgreSQL."""


def require_supported_server(connection: Connection) -> str:
    """Return the version of a supported server. It executes no statement.

    Raises:
        ConfigurationError: The server is older than `MINIMUM_SERVER_VERSION`, or the database's encoding is not UTF8.
    """
    info = psycopg_connection(connection).info
    if info.server_version < MINIMUM_SERVER_VERSION * 10_000:
        raise ConfigurationError(
            f"the server is PostgreSQL {info.parameter_status('server_version')}; this package needs"
            f" {MINIMUM_SERVER_VERSION} or newer: upgrade the server"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database {info.dbname} has the encoding {encoding}, which cannot store every text of the feed; create"
            " another one: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'"
        )
    return info.parameter_status("server_version") or str(info.server_version)
