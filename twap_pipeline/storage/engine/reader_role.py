"""The database role of the API: it may read the tables that the API queries, and nothing else.

Only grants protect against writes. ``default_transaction_read_only`` does not: any session can SET it to off.
"""

import secrets

import psycopg
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE

READER_TABLES = (
    "twap_status",
    "twap_orders",
    "twap_daily_stats",
    "etl_s3_ingest_log",
    "etl_s3_ingest_history",
    ALEMBIC_VERSION_TABLE,
)
"""Tables and views that the role may read; the quarantine is not included."""


def grant_reader(engine: Engine, role: str) -> str | None:
    """Create a role that may log in, if it does not exist, and grant it SELECT on `READER_TABLES`. It is idempotent.

    Args:
        engine: Connects as the owner of the tables, with the right to create roles.
        role: Name of the role.

    Returns:
        The generated password of a new role, which is not stored; None for an existing role.

    Raises:
        ConfigurationError: The connected user lacks a privilege.
    """
    try:
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            if not isinstance(driver, psycopg.Connection):
                raise TypeError("roles need psycopg 3 (postgresql+psycopg)")
            password = _create(driver, role)
            _grant(driver, role)
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        raise ConfigurationError(
            f"cannot create the role {role!r} or grant it SELECT: {' '.join(str(error).split())};"
            " connect as the tables' owner, with the right to create roles"
        ) from error
    return password


def _create(driver: psycopg.Connection[tuple[object, ...]], role: str) -> str | None:
    if driver.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        return None
    password = secrets.token_urlsafe(24)
    scrambled = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    driver.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(scrambled)))
    return password


def _grant(driver: psycopg.Connection[tuple[object, ...]], role: str) -> None:
    name = sql.Identifier(role)
    names = driver.execute("SELECT current_database(), current_schema()").fetchone()
    database, schema = (sql.Identifier(str(part)) for part in names or ())
    tables = sql.SQL(", ").join(map(sql.Identifier, READER_TABLES))
    driver.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
    driver.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
    driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(tables, name))
