"""The API's database role may read its tables and nothing else."""

import psycopg
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.roles import READER, grant_role
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, VIEWS, metadata
from twap_pipeline_tests.storage.catalog import connected

WRITES = (
    "DELETE FROM twap_status",
    "UPDATE twap_orders SET status = 'x'",
    "INSERT INTO etl_s3_ingest_log SELECT * FROM etl_s3_ingest_log",
    "TRUNCATE twap_status",
    "CREATE TABLE mine (n int)",
    "SELECT * FROM twap_status FOR UPDATE",
    "DROP VIEW twap_daily_stats",
    "SELECT raw_row FROM twap_status_quarantine",
    "CREATE TEMP TABLE mine (n int)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "BEGIN; LOCK TABLE twap_orders IN SHARE MODE",
)


@pytest.fixture
def reader(engine: Engine, database: URL) -> URL:
    role = f"reader-of-{database.database}"
    password = grant_role(engine, role, READER).password
    assert grant_role(engine, role, READER).password is None
    return database.set(username=role, password=password)


@pytest.mark.fault("A6")
def test_reader_selects_from_all_api_tables(reader: URL) -> None:
    with psycopg.connect(reader.render_as_string(hide_password=False)) as connection:
        for table in READER.readable:
            connection.execute(f"SELECT * FROM {table}".encode())


@pytest.mark.fault("A6")
@pytest.mark.parametrize("statement", WRITES)
def test_reader_cannot_write_after_changing_settings(reader: URL, statement: str) -> None:
    with psycopg.connect(reader.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


@pytest.mark.fault("A6")
def test_grant_reader_revokes_privileges_of_existing_role(reader: URL, engine: Engine) -> None:
    role = str(reader.username)
    with engine.begin() as connection:
        connection.exec_driver_sql(f'GRANT ALL ON twap_status, twap_status_quarantine TO "{role}"')
        connection.exec_driver_sql(f'GRANT CREATE ON SCHEMA public TO "{role}"')
        connection.exec_driver_sql(f'GRANT TEMPORARY ON DATABASE {reader.database} TO "{role}"')

    assert grant_role(engine, role, READER).excess == ()

    for statement in WRITES:
        test_reader_cannot_write_after_changing_settings(reader, statement)


@pytest.mark.fault("A6")
def test_grant_reader_by_owner_lists_what_stays(engine: Engine, database: URL) -> None:
    """A user who is not superuser cannot revoke functions of pg_catalog; a loader keeps TEMPORARY."""
    owner, loader = f"owner-of-{database.database}", f"loader-of-{database.database}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE \"{owner}\" LOGIN CREATEROLE PASSWORD 'x'")
        connection.exec_driver_sql(f"CREATE ROLE \"{loader}\" LOGIN PASSWORD 'x'")
        connection.exec_driver_sql(f'ALTER DATABASE {database.database} OWNER TO "{owner}"')
        for table in (*metadata.tables, ALEMBIC_VERSION_TABLE, *VIEWS):
            connection.exec_driver_sql(f'ALTER TABLE {table} OWNER TO "{owner}"')
        connection.exec_driver_sql(f'GRANT INSERT ON twap_status TO "{loader}"')
    with connected(database.set(username=owner, password="x")) as owned:
        (excess,) = grant_role(owned, f"reader-of-{database.database}", READER).excess

    assert excess[0].startswith("call lo_creat, lo_create, ")
    assert excess[1].startswith("REVOKE EXECUTE ON FUNCTION ")
    with connected(database.set(username=loader, password="x")) as loading, loading.begin() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE staging (n int)")


def test_grant_reader_without_privilege_is_refused(reader: URL) -> None:
    engine = make_engine(reader)
    with pytest.raises(ConfigurationError, match="connect as the tables' owner"):
        grant_role(engine, "another", READER)
    engine.dispose()
