"""The database role of the API: it may read the tables that the API queries, and nothing else.

Only privileges protect against writes. ``default_transaction_read_only`` does not: any session can SET it to off.
"""

import secrets
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.sql_files import load_queries

READER_TABLES = (
    "twap_status",
    "twap_orders",
    "twap_daily_stats",
    "etl_s3_ingest_log",
    "etl_s3_ingest_history",
    "etl_archived_months",
    ALEMBIC_VERSION_TABLE,
)
"""Tables and views that the role may read; the quarantine is not included."""


_QUERIES = load_queries("twap_pipeline.storage.engine", "reader_role.sql")


@dataclass(frozen=True, slots=True)
class ReaderGrant:
    """The result of `grant_reader`.

    Args:
        password: The generated password of a new role, which is not stored; None for an existing role.
        excess: What the role may do besides reading, and the statements with which the owner of the database or a
            superuser can revoke it.
    """

    password: str | None
    excess: tuple[tuple[str, str], ...]


def grant_reader(engine: Engine, role: str) -> ReaderGrant:
    """Create a role that may log in, if it does not exist, and grant it SELECT on `READER_TABLES`. It is idempotent.

    In a schema other than ``public``, the role's ``search_path`` is set. Other privileges on the tables are revoked.

    PostgreSQL grants every role TEMPORARY on the database and the functions that write large objects: they are revoked
    from PUBLIC, as far as the connected user may. Roles that write to the tables keep TEMPORARY.

    Args:
        engine: Connects as the owner of the tables, with the right to create roles.
        role: Name of the role.

    Raises:
        ConfigurationError: The connected user lacks a privilege.
    """
    try:
        with engine.begin() as connection:
            driver = psycopg_connection(connection)
            password = _create(driver, role)
            _grant(driver, role)
            return ReaderGrant(password, _revoke_excess(driver, role))
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        raise ConfigurationError(
            f"cannot create the role {role!r} or grant it SELECT: {' '.join(str(error).split())};"
            " connect as the tables' owner, with the right to create roles"
        ) from error


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
    if schema != sql.Identifier("public"):
        path = sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}").format(name, database, schema)
        driver.execute(path)
    tables = sql.SQL(", ").join(map(sql.Identifier, READER_TABLES))
    all_tables = sql.SQL(", ").join(map(sql.Identifier, sorted({*READER_TABLES, *metadata.tables})))
    driver.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
    driver.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
    driver.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(all_tables, name))
    driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(tables, name))


def _revoke_excess(driver: psycopg.Connection[tuple[object, ...]], role: str) -> tuple[tuple[str, str], ...]:
    """Revoke what the connected user may revoke; return the privileges that are left, each with its statements."""
    parameters = {"role": role, "table": READER_TABLES[0]}
    for _, statements, is_revocable in driver.execute(_QUERIES["excess_privileges"].encode(), parameters).fetchall():
        if is_revocable:
            driver.execute(str(statements).encode())
    left = driver.execute(_QUERIES["excess_privileges"].encode(), parameters).fetchall()
    return tuple((str(privilege), str(statements)) for privilege, statements, _ in left)
