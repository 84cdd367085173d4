"""Sessions: the encoding, options of URL and environment, a schema other than public, and PgBouncer."""

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from twap_pipeline.api import create_app
from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.audit.verification import verification_session
from twap_pipeline.storage.engine import server_requirements
from twap_pipeline.storage.engine.async_engine import fetch_all, make_async_engine
from twap_pipeline.storage.engine.engine import translate_connection_errors
from twap_pipeline.storage.engine.roles import READER, grant_role
from twap_pipeline.storage.months.conversion import partition_by_month
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.migration_lock import migration_lock
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.api.serving import ended_order, make_settings, serving
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.factories import DAY, WALLET, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.pgbouncer import MISSING, pgbouncer
from twap_pipeline_tests.storage.catalog import connected, execute, in_clear
from twap_pipeline_tests.storage.migrate_process import run

DAY_OF_OBJECTS = DAY + timedelta(days=1)
TEXT = "café:Ü ✓ 🦊"


def fetch_values(url: URL, *statements: str) -> list[object]:
    """Return the value of each statement, on a connection of the API."""

    async def fetch() -> list[object]:
        engine = api_engine(url)
        try:
            return [(await fetch_all(engine, text(statement)))[0][0] for statement in statements]
        finally:
            await engine.dispose()

    return asyncio.run(fetch())


def api_engine(url: URL) -> AsyncEngine:
    return make_async_engine(url, pool_size=2, pool_timeout_seconds=5, statement_timeout_seconds=3)


def loader_values(url: URL, *statements: str) -> list[object]:
    """Return the value of each statement, on a connection of the loader."""
    with connected(url) as engine, engine.connect() as connection:
        return [connection.scalar(text(statement)) for statement in statements]


def with_options(url: URL, monkeypatch: pytest.MonkeyPatch, way: str, options: str) -> URL:
    """Return a URL whose sessions have startup options: of the URL, of PGOPTIONS, or of the role."""
    if way == "url":
        return url.update_query_dict({"options": options})
    monkeypatch.setenv("PGOPTIONS", options)
    return url


@pytest.mark.fault("V10")
@pytest.mark.parametrize(
    ("variable", "query"),
    [
        ("SQL_ASCII", {}),
        ("", {"client_encoding": "latin1"}),
        ("", {"options": "-c client_encoding=EUC_JP"}),
    ],
)
def test_client_encoding_of_the_environment_has_no_effect(
    database: URL, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, variable: str, query: dict[str, str]
) -> None:
    bucket.put("a.parquet", [event(1, asset=TEXT)])
    if variable:
        monkeypatch.setenv("PGCLIENTENCODING", variable)
    url = database.update_query_dict(query)
    with connected(url) as engine:
        ingest_everything(LocalDirectory(bucket.directory), engine)

    lengths = "SELECT octet_length(asset) FROM twap_status", "SELECT asset FROM twap_status"
    assert loader_values(url, *lengths) == fetch_values(url, *lengths) == [len(TEXT.encode()), TEXT]


@pytest.mark.fault("V10")
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_of_other_encoding_is_refused_by_name(server_url: str, encoding: str) -> None:
    url = create_database(server_url, "template0", f"ENCODING '{encoding}' LOCALE 'C'")

    with connected(url) as engine:
        for action in (upgrade, create_schema, require_head):
            with pytest.raises(ConfigurationError, match=f"{url.database} has the encoding {encoding}.*TEMPLATE"):
                action(engine)


@pytest.mark.fault("A8")
def test_older_server_is_refused_by_name(empty_database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_requirements, "MINIMUM_SERVER_VERSION", 99)

    with connected(empty_database) as engine:
        for action in (upgrade, create_schema, require_head):
            with pytest.raises(ConfigurationError, match=r"the server is PostgreSQL \d.*needs 99 or newer"):
                action(engine)


PARAMETERS = ("search_path", "application_name", "statement_timeout", "TimeZone", "DateStyle", "client_encoding")
SHOW = [f"SELECT current_setting('{name}')" for name in PARAMETERS]


@pytest.mark.fault("W9")
@pytest.mark.parametrize("way", ["url", "environment"])
def test_options_of_user_apply_to_loader_and_api(
    empty_database: URL, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    options = "-csearch_path=own -c statement_timeout=77s -c TimeZone=Asia/Tokyo -c datestyle=SQL,DMY"
    url = with_options(empty_database, monkeypatch, way, options)
    if way == "url":
        url = url.update_query_dict({"application_name": "mine"})
    else:
        monkeypatch.setenv("PGAPPNAME", "mine")

    expected = ["own", "mine", "77s", "UTC", "ISO, MDY", "UTF8"]
    assert loader_values(url, *SHOW) == fetch_values(url, *SHOW) == expected


@pytest.mark.fault("W9")
@pytest.mark.parametrize(
    ("query", "variable", "expected"), [({}, None, "10"), ({"connect_timeout": "3"}, "4", "3"), ({}, "4", "4")]
)
def test_connect_timeout_of_user_applies(
    empty_database: URL, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], variable: str | None, expected: str
) -> None:
    if variable:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", variable)
    with connected(empty_database.update_query_dict(query)) as engine, engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        assert driver.info.get_parameters()["connect_timeout"] == expected


def test_sessions_without_options_have_defaults(empty_database: URL) -> None:
    assert loader_values(empty_database, *SHOW[1:3]) == ["twap_pipeline", "0"]
    assert fetch_values(empty_database, *SHOW[1:3]) == ["twap_pipeline_api", "3s"]


@pytest.mark.fault("R2")
def test_session_of_unreachable_host_is_ended_by_server(empty_database: URL) -> None:
    """Otherwise it keeps the locks of its objects for hours: the default of Linux is two hours and 11 minutes."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    idle, interval, count = loader_values(empty_database, *(f"SELECT current_setting('{name}')::int" for name in names))

    assert int(str(idle)) + int(str(interval)) * int(str(count)) <= 30


@pytest.mark.fault("W9")
def test_read_only_of_api_cannot_be_disabled_by_url(empty_database: URL) -> None:
    url = empty_database.update_query_dict({"options": "-c default_transaction_read_only=off"})

    assert fetch_values(url, "SHOW default_transaction_read_only") == ["on"]


@pytest.fixture(params=["url", "environment", "role"])
def own_schema(request: pytest.FixtureRequest, empty_database: URL, monkeypatch: pytest.MonkeyPatch) -> URL:
    """A database with a schema named "own data", which is selected in each of the usual ways."""
    execute(empty_database, 'CREATE SCHEMA "own data"')
    if request.param != "role":
        return with_options(empty_database, monkeypatch, request.param, '-csearch_path="own\\ data"')
    role = f"user_{empty_database.database}"
    execute(
        empty_database,
        f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'p'; ALTER ROLE {role} SET search_path = \"own data\", public",
    )
    return empty_database.set(username=role, password="p")


@pytest.mark.fault("W9")
def test_schema_other_than_public_works_throughout(own_schema: URL, empty_database: URL, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    role = f"reader_{empty_database.database}"

    with connected(own_schema) as engine:
        upgrade(engine)
        ingest_everything(LocalDirectory(bucket.directory), engine)
        with engine.begin() as connection:
            refresh_orders(connection, DAY_OF_OBJECTS)
            assert (drift(connection), require_head(engine).at_head) == ([], True)
        password = grant_role(engine, role, READER).password

    count = "SELECT count(*) FROM twap_orders"
    reader = empty_database.set(username=role, password=password)
    assert fetch_values(own_schema, count) == fetch_values(reader, count) == [2]
    schemas = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename ~ '^(twap|etl)_'"
    assert loader_values(own_schema, schemas) == ["own data"]


def test_schema_of_search_path_missing_is_one_line(empty_database: URL) -> None:
    url = empty_database.update_query_dict({"options": "-csearch_path=nowhere"})
    with (
        connected(url) as engine,
        pytest.raises(DatabaseUnavailableError, match="create it with CREATE SCHEMA"),
        translate_connection_errors(url),
    ):
        upgrade(engine)


needs_pgbouncer = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, empty_database: URL) -> Iterator[URL]:
    """An empty database behind PgBouncer."""
    with pgbouncer(empty_database, request.param) as url:
        yield url


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_pipeline_works_behind_pgbouncer(pooled: URL, empty_database: URL, bucket: Bucket) -> None:
    for number in range(6):
        bucket.put(f"{number}.parquet", [event(number, asset=TEXT), event(number + 1, asset=TEXT)], hours=number)
    with connected(pooled) as engine, ThreadPoolExecutor(2) as threads:
        assert [done.at_head for done in threads.map(lambda _: upgrade(engine), range(2))] == [True, True]
        results = ingest_everything(LocalDirectory(bucket.directory), engine)
        with engine.begin() as connection:
            refresh_orders(connection, DAY_OF_OBJECTS)
            assert drift(connection) == []

    assert [result.error for result in results] == [None] * 6
    values = fetch_values(pooled, *["SELECT min(asset) FROM twap_orders", SHOW[2], SHOW[3]] * 6)
    assert values == [TEXT, "3s", "UTC"] * 6
    # Nothing leaks from the API's transactions into the sessions of the loader.
    for _ in range(8):
        assert loader_values(pooled, SHOW[2], SHOW[3], "SHOW transaction_read_only") == ["0", "UTC", "off"]
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert loader_values(empty_database, locks) == [0]


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_api_audit_checks_and_months_work_behind_pgbouncer(pooled: URL, bucket: Bucket) -> None:
    """Exports use a server-side cursor, the conversion to months a transaction of many statements."""
    bucket.put("hourly/2025/08/20/12/a.parquet", ended_order(1))
    store = LocalDirectory(bucket.directory)
    with connected(pooled) as engine:
        upgrade(engine)
        ingest_everything(store, engine)
        with engine.begin() as connection:
            refresh_orders(connection, DAY)
        failed = [check.name for check, result in run_checks(engine, CHECKS) if result.count and check.is_error]
        assert (failed, run_audit(store, engine, since=DAY).has_errors) == ([], False)
        partition_by_month(engine, lambda _: None)
        assert len(ingest_everything(store, engine)) == 0
    with serving(create_app(make_settings(pooled))) as client:
        assert client.get("/readyz").status_code == 200
        for _ in range(4):
            assert client.get("/api/v2/orders/1").status_code == 200
            export = client.get(f"/api/v2/wallets/{WALLET}/exports/csv")
            assert (export.status_code, len(export.text.splitlines())) == (200, 2)


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_api_behind_pgbouncer_is_read_only_and_limited(pooled: URL) -> None:
    with pytest.raises(OperationalError, match="statement timeout"):
        fetch_values(pooled, "SELECT pg_sleep(30)")
    with pytest.raises(DBAPIError, match="read-only"):
        fetch_values(pooled, "SELECT lo_create(0)")


@needs_pgbouncer
@pytest.mark.fault("M1", "W9")
def test_migration_lock_excludes_others_behind_pgbouncer(pooled: URL) -> None:
    with connected(pooled) as one, connected(pooled) as other, migration_lock(one):
        for _ in range(4):
            with (
                pytest.raises(DatabaseUnavailableError, match="held the migration lock"),
                migration_lock(other, deadline_seconds=0),
            ):
                pass


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_verification_session_that_changes_is_refused(database: URL) -> None:
    """The deep audit keeps temporary tables for many transactions."""

    def use(connection: Connection) -> None:
        for _ in range(8):
            with connection.begin():
                connection.exec_driver_sql("SELECT 1")

    with (
        pgbouncer(database, "transaction") as url,
        connected(url) as engine,
        connected(url) as other,
        other.connect() as busy,
        verification_session(engine, TWAP_STATUS) as connection,
    ):
        busy.exec_driver_sql("SELECT 1")
        with pytest.raises(ConfigurationError, match="needs one server session"):
            use(connection)


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_deep_audit_works_behind_pgbouncer_in_session_mode(database: URL, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    store = LocalDirectory(bucket.directory)
    with pgbouncer(database, "session") as url, connected(url) as engine:
        ingest_everything(store, engine)
        report = run_audit(store, engine, since=DAY, deep=True)

    assert (report.objects_read, report.has_errors) == (1, False)


@needs_pgbouncer
@pytest.mark.fault("W9")
def test_options_behind_pgbouncer_are_refused_with_advice(database: URL) -> None:
    with pgbouncer(database, "session") as pooled:
        url = pooled.update_query_dict({"options": "-csearch_path=own"})
        with (
            connected(url) as engine,
            pytest.raises(DatabaseUnavailableError, match="ALTER ROLE"),
            translate_connection_errors(url),
        ):
            engine.connect()


UNREADABLE_HOME = """
import asyncio, os, sys
from sqlalchemy import text
from twap_pipeline.storage.engine.async_engine import fetch_all, make_async_engine
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url

url = parse_database_url(sys.argv[1])
make_engine(url).connect().close()  # imports what a user without access to the interpreter could not import
if os.geteuid() == 0:
    os.setuid(65534)
os.environ["HOME"] = sys.argv[2]
try:
    os.listdir(sys.argv[2])
except PermissionError:
    print("unreadable")

async def fetch():
    engine = make_async_engine(url, pool_size=1, pool_timeout_seconds=5, statement_timeout_seconds=5)
    return (await fetch_all(engine, text("SELECT 1")))[0][0]

print(make_engine(url).connect().scalar(text("SELECT 1")), asyncio.run(fetch()))
"""


def test_unreadable_home_does_not_prevent_connections(empty_database: URL, tmp_path: Path) -> None:
    """Libpq looks for certificates and passwords in HOME, which can be another user's."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0)

    done = run(sys.executable, "-c", UNREADABLE_HOME, in_clear(empty_database), home)

    assert done.stdout.split() == ["unreadable", "1", "1"], done.stderr
