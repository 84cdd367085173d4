"""The API's database role may read its tables and nothing else."""

import psycopg
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.reader_role import READER_TABLES, grant_reader

WRITES = (
    "DELETE FROM twap_status",
    "UPDATE twap_orders SET status = 'x'",
    "INSERT INTO etl_s3_ingest_log SELECT * FROM etl_s3_ingest_log",
    "TRUNCATE twap_status",
    "CREATE TABLE mine (n int)",
    "SELECT * FROM twap_status FOR UPDATE",
    "DROP VIEW twap_daily_stats",
    "SELECT raw_row FROM twap_status_quarantine",
)


@pytest.fixture
def reader(engine: Engine, database: URL) -> URL:
    role = f"reader-of-{database.database}"
    password = grant_reader(engine, role)
    assert grant_reader(engine, role) is None
    return database.set(username=role, password=password)


@pytest.mark.fault("A6")
def test_reader_selects_from_all_api_tables(reader: URL) -> None:
    with psycopg.connect(reader.render_as_string(hide_password=False)) as connection:
        for table in READER_TABLES:
            connection.execute(f"SELECT * FROM {table}".encode())


@pytest.mark.fault("A6")
@pytest.mark.parametrize("statement", WRITES)
def test_reader_cannot_write_after_changing_settings(reader: URL, statement: str) -> None:
    with psycopg.connect(reader.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_grant_reader_without_privilege_is_refused(reader: URL) -> None:
    engine = make_engine(reader)
    with pytest.raises(ConfigurationError, match="connect as the tables' owner"):
        grant_reader(engine, "another")
    engine.dispose()
