"""Migrations and the declared tables create the same schema; drift is detected."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.storage.catalog import (
    connected,
    describe,
    described_tables,
    downgrade_to,
    execute,
    upgrade_to,
)

DESIGN = """
CREATE TABLE twap_status (twap_id TEXT NOT NULL, wallet TEXT NOT NULL, ts TIMESTAMPTZ NOT NULL, asset TEXT, side TEXT, size_requested NUMERIC,
  size_executed NUMERIC, notional_executed NUMERIC, status TEXT, duration_minutes INTEGER, s3_object_key TEXT NOT NULL, raw_payload JSON,
  inserted_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (twap_id, wallet, ts));
CREATE INDEX twap_status_wallet_ts_idx ON twap_status (wallet, ts);
CREATE INDEX twap_status_twap_id_idx ON twap_status (twap_id);
CREATE INDEX twap_status_asset_idx ON twap_status (asset);
CREATE TABLE etl_s3_ingest_log (s3_object_key TEXT PRIMARY KEY, last_modified TIMESTAMPTZ NOT NULL, rows_ingested INTEGER, error_text TEXT,
  ingested_at TIMESTAMPTZ NOT NULL);
"""  # noqa: E501 (to the letter)


def test_migration_001_equals_given_ddl(server_url: str, empty_database: URL) -> None:
    design = create_database(server_url)
    execute(design, DESIGN)

    upgrade_to(empty_database, "001")

    assert described_tables(empty_database) == describe(design)


@pytest.mark.fault("M5")
def test_created_schema_equals_migrations(database: URL, empty_database: URL) -> None:
    with connected(empty_database) as engine:
        create_schema(engine)

    assert describe(empty_database) == describe(database)


@pytest.mark.fault("M5")
def test_describe_shows_differences_between_revisions(database: URL, empty_database: URL) -> None:
    upgrade_to(empty_database, "001")

    differences = set(describe(database)) ^ set(describe(empty_database))

    assert any("twap_status_quarantine: column 02 row_number bigint NOT NULL" in line for line in differences)
    assert any("CHECK ((rows_read = " in line for line in differences)
    assert any("etl_s3_ingest_log_object_date_idx" in line for line in differences)


@pytest.mark.fault("M4")
@pytest.mark.parametrize("revision", ["001", "base"])
def test_downgrade_then_upgrade_restores_schema(database: URL, revision: str) -> None:
    before = describe(database)

    downgrade_to(database, revision)
    assert describe(database) != before
    upgrade_to(database, "head")

    assert describe(database) == before


def test_downgrade_leaves_schema_of_target_revision(database: URL, empty_database: URL) -> None:
    upgrade_to(empty_database, "001")

    downgrade_to(database, "001")
    assert describe(database) == describe(empty_database)

    downgrade_to(database, "base")
    assert described_tables(database) == []


@pytest.mark.fault("M5")
def test_head_has_no_drift(unchanged: Engine) -> None:
    with unchanged.connect() as connection:
        assert drift(connection) == []


@pytest.fixture(scope="module")
def unchanged(server_url: str, template: str) -> Iterator[Engine]:
    """A database at head, which tests alter in transactions that are rolled back."""
    with connected(create_database(server_url, template)) as engine:
        yield engine


@pytest.mark.fault("M5")
@pytest.mark.parametrize(
    ("alteration", "named"),
    [
        ("ALTER TABLE twap_status ADD COLUMN extra TEXT", "extra"),
        ("ALTER TABLE twap_status DROP COLUMN status_error", "status_error"),
        ("ALTER TABLE twap_status ALTER duration_minutes TYPE BIGINT", "duration_minutes"),
        ("ALTER TABLE twap_status ALTER size_executed TYPE NUMERIC(20, 4)", "size_executed"),
        ("ALTER TABLE twap_status ALTER size_executed TYPE DOUBLE PRECISION", "size_executed"),
        ("ALTER TABLE twap_status ALTER ts TYPE TIMESTAMP", " ts "),
        ("ALTER TABLE twap_status ALTER s3_object_key DROP NOT NULL", "s3_object_key"),
        ("ALTER TABLE twap_status ALTER inserted_at DROP DEFAULT", "inserted_at"),
        ("ALTER TABLE etl_s3_ingest_log ALTER failed_attempts SET DEFAULT 1", "failed_attempts"),
        ("DROP INDEX twap_status_asset_idx", "twap_status_asset_idx"),
        ("CREATE INDEX extra_idx ON twap_status (side)", "extra_idx"),
        ("ALTER TABLE twap_status DROP CONSTRAINT twap_status_pkey", "primary key of twap_status"),
        (
            "ALTER TABLE etl_s3_ingest_log DROP CONSTRAINT etl_s3_ingest_log_row_counts_sum_check",
            "lacks the check etl_s3_ingest_log_row_counts_sum_check",
        ),
        ("ALTER TABLE twap_status ADD CHECK (size_executed > 0)", "twap_status_size_executed_check"),
        ("DROP TABLE twap_status_quarantine", "twap_status_quarantine"),
        ("DROP VIEW twap_daily_stats", "the view twap_daily_stats is missing"),
        (
            "CREATE OR REPLACE VIEW twap_daily_stats AS SELECT start_date AS day, asset, side, status,"
            " count(*) AS order_count, count(wallet) AS wallet_count, count(*) AS underfilled_order_count,"
            " sum(size_requested) AS size_requested, sum(size_executed) AS size_executed,"
            " sum(notional_executed) AS notional_executed FROM twap_orders GROUP BY start_date, asset, side, status",
            "the view twap_daily_stats is not as declared",
        ),
    ],
)
def test_drift_names_altered_object(unchanged: Engine, alteration: str, named: str) -> None:
    with unchanged.connect() as connection:
        connection.exec_driver_sql(alteration)

        (difference,) = drift(connection)

    assert named in difference
