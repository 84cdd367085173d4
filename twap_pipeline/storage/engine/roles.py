"""The database roles of the API and of the loader: the tables that each may read or write, and nothing else.

Only privileges protect against writes. ``default_transaction_read_only`` does not: any session can SET it to off.
``deploy/roles.sql`` creates the databases and the roles of an installation.
"""

import secrets
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata, twap_status
from twap_pipeline.storage.sql_files import load_queries


@dataclass(frozen=True, slots=True)
class RolePrivileges:
    """What a role may do.

    Args:
        readable: Tables and views with SELECT.
        writable: Tables with SELECT, INSERT, UPDATE and DELETE. A role with such tables gets TEMPORARY, which loads
            need, and the same privileges on tables that the owner creates later.
        forbidden: Kinds of privileges of PUBLIC that are revoked: see the query ``excess_privileges``.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    forbidden: frozenset[str]


_FILL_VIEWS = ("twap_order_fills", "twap_order_reconciliation")

READER = RolePrivileges(
    readable=(
        "twap_status",
        "twap_orders",
        "twap_daily_stats",
        "twap_fills",
        *_FILL_VIEWS,
        "etl_s3_ingest_log",
        "etl_s3_ingest_history",
        "etl_archived_months",
        "spot_pairs",
        ALEMBIC_VERSION_TABLE,
    ),
    writable=(),
    forbidden=frozenset({"temporary", "schema", "functions"}),
)
"""`serve`, `export`, `status` and `export-metrics`; the quarantine is not included."""

LOADER = RolePrivileges(
    readable=("twap_daily_stats", *_FILL_VIEWS, ALEMBIC_VERSION_TABLE),
    writable=tuple(sorted(metadata.tables)),
    forbidden=frozenset({"schema"}),
)
"""`ingest`, `audit`, `check` and Dagster's runs."""

_WRITES = sql.SQL("SELECT, INSERT, UPDATE, DELETE")
_QUERIES = load_queries("twap_pipeline.storage.engine", "roles.sql")

_Driver = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """The result of `grant_role`.

    Args:
        password: The generated password of a new role, which is not stored; None for an existing role.
        excess: What the role may do although it is forbidden, and the statements with which the owner of the database
            or a superuser can revoke it.
    """

    password: str | None
    excess: tuple[tuple[str, str], ...]


def grant_role(engine: Engine, role: str, privileges: RolePrivileges) -> RoleGrant:
    """Create a role that may log in, if it does not exist, and grant it these privileges. It is idempotent.

    In a schema other than ``public``, the role's ``search_path`` is set. Other privileges on the tables are revoked.

    PostgreSQL grants every role TEMPORARY on the database and the functions that write large objects: the forbidden
    ones are revoked from PUBLIC, as far as the connected user may. Roles that write to the tables keep TEMPORARY.

    Args:
        engine: Connects as the owner of the tables; with the right to create roles, if the role does not exist.
        role: Name of the role.
        privileges: `READER` or `LOADER`.

    Raises:
        ConfigurationError: The connected user lacks a privilege.
    """
    try:
        with engine.begin() as connection:
            driver = psycopg_connection(connection)
            password = _create(driver, role)
            _grant(driver, role, privileges)
            return RoleGrant(password, _revoke_excess(driver, role, privileges))
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        raise ConfigurationError(
            f"cannot create the role {role!r} or grant it its privileges: {' '.join(str(error).split())};"
            " connect as the tables' owner, with the right to create roles"
        ) from error


def _create(driver: _Driver, role: str) -> str | None:
    if driver.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        return None
    password = secrets.token_urlsafe(24)
    scrambled = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    driver.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(scrambled)))
    return password


def _grant(driver: _Driver, role: str, privileges: RolePrivileges) -> None:
    name = sql.Identifier(role)
    names = driver.execute("SELECT current_database(), current_schema()").fetchone()
    database, schema = (sql.Identifier(str(part)) for part in names or ())
    if schema != sql.Identifier("public"):
        path = sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}").format(name, database, schema)
        driver.execute(path)
    partitions = [str(table) for (table,) in driver.execute(_QUERIES["partitions"].encode()).fetchall()]
    later_tables = sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} ").format(schema)
    driver.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
    driver.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
    driver.execute(
        sql.SQL("REVOKE ALL ON {} FROM {}").format(_join(*READER.readable, *LOADER.writable, *partitions), name)
    )
    driver.execute(later_tables + sql.SQL("REVOKE ALL ON TABLES FROM {}").format(name))
    driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(_join(*privileges.readable), name))
    if privileges.writable:
        tables = _join(*privileges.writable, *partitions)
        driver.execute(sql.SQL("GRANT {} ON {} TO {}").format(_WRITES, tables, name))
        driver.execute(later_tables + sql.SQL("GRANT {} ON TABLES TO {}").format(_WRITES, name))
        _grant_temporary(driver, database, name, role)


def _grant_temporary(driver: _Driver, database: sql.Identifier, name: sql.Identifier, role: str) -> None:
    statement = sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(database, name)
    driver.execute(statement)  # only a warning, if the connected user may not grant it
    if driver.execute(_QUERIES["has_temporary"].encode(), {"role": role}).fetchone() != (True,):
        raise ConfigurationError(
            f"the role {role!r} needs temporary tables, and only the owner of the database can grant that; run as the"
            f" owner of the database: {statement.as_string()}"
        )


def _join(*tables: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, sorted(set(tables))))


def _revoke_excess(driver: _Driver, role: str, privileges: RolePrivileges) -> tuple[tuple[str, str], ...]:
    """Revoke what the connected user may revoke; return the privileges that are left, each with its statements."""
    parameters = {"role": role, "table": twap_status.name, "kinds": list(privileges.forbidden)}
    for _, statements, is_revocable in driver.execute(_QUERIES["excess_privileges"].encode(), parameters).fetchall():
        if is_revocable:
            driver.execute(str(statements).encode())
    left = driver.execute(_QUERIES["excess_privileges"].encode(), parameters).fetchall()
    return tuple((str(privilege), str(statements)) for privilege, statements, _ in left)
