"""A denied permission is one line that names the privilege and the statement that grants it."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.engine import translate_connection_errors
from twap_pipeline.storage.engine.privileges import ROLES_PAGE, grant_hint
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.storage.catalog import connected, downgrade_to, execute

LOADER = """
GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};
GRANT SELECT ON twap_daily_stats, {version} TO {role};
"""


@pytest.mark.unit
@pytest.mark.parametrize(
    ("message", "statement"),
    [
        ("permission denied for schema public", 'GRANT USAGE, CREATE ON SCHEMA "public" TO "app"'),
        ('permission denied for schema "My Data"', 'GRANT USAGE, CREATE ON SCHEMA "My Data" TO "app"'),
        (
            'permission denied to create temporary tables in database "twap"',
            'GRANT TEMPORARY ON DATABASE "twap" TO "app"',
        ),
        ("permission denied for table twap_status", 'GRANT SELECT, INSERT, UPDATE, DELETE ON "twap_status" TO "app"'),
        ("permission denied for view twap_daily_stats", 'GRANT SELECT ON "twap_daily_stats" TO "app"'),
        ('permission denied for database "twap"', 'GRANT CONNECT ON DATABASE "twap" TO "app"'),
        ("must be owner of table twap_status", "connect as the owner"),
        ("keine Berechtigung für Schema public", "the privileges of each role are listed"),
    ],
)
def test_grant_hint_contains_the_statement(message: str, statement: str) -> None:
    hint = grant_hint(message, "app")

    assert statement in hint
    assert ROLES_PAGE in hint


@pytest.fixture
def role(database: URL) -> URL:
    """The URL of a role without privileges."""
    name = f"app_{database.database}"
    execute(
        database, f"CREATE ROLE {name} LOGIN PASSWORD 'p'; REVOKE TEMPORARY ON DATABASE {database.database} FROM PUBLIC"
    )
    return database.set(username=name, password="p")


@pytest.fixture
def loader(role: URL, database: URL) -> URL:
    """The URL of a role with the privileges of a loader, except TEMPORARY."""
    tables = ", ".join(metadata.tables)
    execute(database, LOADER.format(tables=tables, role=role.username, version=ALEMBIC_VERSION_TABLE))
    return role


def denied(url: URL, action: Callable[[Engine], object]) -> str:
    """Return the error of an action on a database."""
    with (
        connected(url) as engine,
        pytest.raises(DatabaseUnavailableError) as raised,
        translate_connection_errors(url),
    ):
        action(engine)
    message = str(raised.value)
    assert re.fullmatch(rf"cannot use the database postgresql://{url.username}:\*\*\*@.*; see {ROLES_PAGE}", message)
    return message


@pytest.mark.parametrize("action", [upgrade, create_schema])
def test_migration_without_create_names_the_grant(role: URL, database: URL, action: Callable[[Engine], object]) -> None:
    downgrade_to(database, "base")
    execute(database, f"DROP TABLE {ALEMBIC_VERSION_TABLE}")

    assert f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role.username}"' in denied(role, action)


def test_migration_by_other_role_names_the_owner(loader: URL, database: URL) -> None:
    downgrade_to(database, "001")
    execute(database, f"GRANT CREATE ON SCHEMA public TO {loader.username}")

    assert "must be owner of table twap_status; connect as the owner" in denied(loader, upgrade)


def test_gate_without_select_names_the_grant(role: URL) -> None:
    assert f'ON "{ALEMBIC_VERSION_TABLE}" TO "{role.username}"' in denied(role, require_head)


def test_loader_without_temporary_names_the_grant(loader: URL, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    store = LocalDirectory(bucket.directory)

    def load(engine: Engine) -> None:
        for hours in range(2):
            bucket.put("a.parquet", [event(1, executed=str(hours))], hours=hours)
            ingest_objects(store, engine, store.list_objects(), DAY)

    def find_drift(engine: Engine) -> None:
        with engine.connect() as connection:
            drift(connection)

    for action in (load, find_drift, lambda engine: run_audit(store, engine, since=DAY, deep=True)):
        assert f'GRANT TEMPORARY ON DATABASE "{loader.database}" TO "{loader.username}"' in denied(loader, action)


@pytest.mark.parametrize("table", ["twap_status", "etl_s3_ingest_log", "twap_orders"])
def test_loader_without_writes_names_the_grant(loader: URL, database: URL, bucket: Bucket, table: str) -> None:
    bucket.put("a.parquet", [event(1)])
    store = LocalDirectory(bucket.directory)
    execute(database, f"GRANT TEMPORARY ON DATABASE {database.database} TO {loader.username}")
    execute(database, f"REVOKE INSERT ON {table} FROM {loader.username}")

    def load(engine: Engine) -> None:
        ingest_objects(store, engine, store.list_objects(), DAY)
        with engine.begin() as connection:
            refresh_orders(connection, DAY)

    assert f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{table}" TO "{loader.username}"' in denied(loader, load)


def test_loader_with_listed_privileges_works(loader: URL, database: URL, bucket: Bucket) -> None:
    """The privileges of the page on roles suffice for all work of a loader."""
    execute(database, f"GRANT TEMPORARY ON DATABASE {database.database} TO {loader.username}")
    store = LocalDirectory(bucket.directory)
    with connected(loader) as engine:
        for hours in range(2):
            bucket.put("a.parquet", [event(1, executed=str(hours)), event(2, wallet="?")], hours=hours)
            ingest_objects(store, engine, store.list_objects(), DAY)
        with engine.begin() as connection:
            refresh_orders(connection, DAY)
            assert drift(connection) == []
        assert require_head(engine).at_head
        assert run_audit(store, engine, since=DAY, requeue=True).repair is not None
