"""The role that the query side logs in as: it may read what the API tells, and nothing else.

Grants alone keep it from writing. ``default_transaction_read_only`` would not: whoever is logged in undoes it by SET.
"""

import secrets

import psycopg
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE

READER_TABLES = ("twap_status", "twap_orders", "twap_daily_stats", "etl_s3_ingest_log", ALEMBIC_VERSION_TABLE)
"""What the API reads. The quarantine is not among it."""


def grant_reader(engine: Engine, role: str) -> str | None:
    """Let a role log in and read what the API tells; made if it does not exist. Repeating it changes nothing.

    Args:
        engine: As an owner of the tables who may create roles.
        role: Its name.

    Returns:
        The password of a role that was made, told this once; None for one that existed.

    Raises:
        ConfigurationError: The connected user may not do this.
    """
    try:
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            if not isinstance(driver, psycopg.Connection):
                raise TypeError("roles are made through psycopg 3 (postgresql+psycopg)")
            password = _make(driver, role)
            _grant(driver, role)
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        raise ConfigurationError(
            f"the role {role!r} cannot be made or granted: {' '.join(str(error).split())};"
            " run this as the tables' owner, with the right to create roles"
        ) from error
    return password


def _make(driver: "psycopg.Connection[tuple[object, ...]]", role: str) -> str | None:
    if driver.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        return None
    password = secrets.token_urlsafe(24)
    scrambled = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    driver.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(scrambled)))
    return password


def _grant(driver: "psycopg.Connection[tuple[object, ...]]", role: str) -> None:
    name = sql.Identifier(role)
    place = driver.execute("SELECT current_database(), current_schema()").fetchone()
    database, schema = (sql.Identifier(str(part)) for part in place or ())
    tables = sql.SQL(", ").join(map(sql.Identifier, READER_TABLES))
    driver.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
    driver.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
    driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(tables, name))
