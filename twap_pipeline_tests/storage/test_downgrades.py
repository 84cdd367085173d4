"""Rows in upgrades and downgrades: none is destroyed unless ``-x allow-data-loss=yes`` allows it."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import URL

from twap_pipeline.storage.schema.models import metadata
from twap_pipeline_tests.embedded.client_process import await_true
from twap_pipeline_tests.storage.catalog import (
    describe,
    described_tables,
    downgrade_to,
    execute,
    in_clear,
    recorded,
    upgrade_to,
)
from twap_pipeline_tests.storage.migrate_process import (
    DEADLINE_SECONDS,
    HEAD,
    REVISIONS,
    alembic,
    count_sessions,
    refused_by_alembic,
)

pytestmark = pytest.mark.fault("M4")

ALLOW_DATA_LOSS = ("-x", "allow-data-loss=yes")
STATUS = """
INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key, size_executed, raw_payload, inserted_at)
VALUES ('1', '0xa', '2025-08-17 12:00Z', 'k', 0.10, '{"state_sz": "0.10"}', now())
"""
LOG_ENTRY = """
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, rows_ingested, ingested_at)
VALUES ('k', '2025-08-17 13:00Z', 1, now())
"""
QUARANTINED = (
    "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason) VALUES ('k', 1, '{}', 'no ts')"
)
PAST_VERSION = "INSERT INTO etl_s3_ingest_history (s3_object_key, kind) VALUES ('k', 'requeued')"
ORDER = (
    "INSERT INTO twap_orders (twap_id, wallet, last_status_at, event_count, first_event_at, first_object_key,"
    " last_object_key) VALUES ('1', '0x', now(), 1, now(), 'k', 'k')"
)


def rows_of_001(url: URL) -> list[str]:
    """Return the rows of both tables, columns of revision 001 only."""
    columns = {
        "twap_status": "twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,"
        " duration_minutes, s3_object_key, raw_payload, inserted_at",
        "etl_s3_ingest_log": "s3_object_key, last_modified, rows_ingested, error_text, ingested_at",
    }
    with psycopg.connect(in_clear(url)) as connection:
        return [
            str(row)
            for table, names in columns.items()
            for row in connection.execute(f"SELECT ({names})::text FROM {table}".encode())
        ]


def test_rows_of_001_survive_upgrade_and_downgrade(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LOG_ENTRY}")
    before = rows_of_001(empty_database)
    assert len(before) == 2

    upgrade_to(empty_database, "head")
    assert rows_of_001(empty_database) == before
    alembic(empty_database, *ALLOW_DATA_LOSS, "downgrade", "001")
    assert (recorded(empty_database), rows_of_001(empty_database)) == (["001"], before)
    upgrade_to(empty_database, "head")
    assert (recorded(empty_database), rows_of_001(empty_database)) == ([HEAD], before)


def test_downgrade_that_destroys_rows_is_refused(database: URL) -> None:
    downgrade_to(database, "002")
    for statement, tables in (
        (STATUS, "twap_status"),
        (LOG_ENTRY, "etl_s3_ingest_log"),
        (f"{LOG_ENTRY}; {PAST_VERSION}", "etl_s3_ingest_log, etl_s3_ingest_history"),
        (QUARANTINED, "twap_status_quarantine"),
        (ORDER, "twap_orders"),
    ):
        execute(database, statement)
        before = describe(database), recorded(database), rows_of_001(database)

        output = refused_by_alembic(database, "downgrade", "001")

        assert f"would destroy rows of {tables};" in output
        assert "`alembic -x allow-data-loss=yes downgrade …`" in output
        assert (describe(database), recorded(database), rows_of_001(database)) == before
        execute(database, f"TRUNCATE {tables} CASCADE")


def test_downgrade_guards_every_table_that_loses_columns(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a revision that does not exist yet: the guard names each table of which a column is dropped."""
    guarded: list[str] = []
    monkeypatch.setattr(
        "twap_pipeline.storage.schema.upgrade.refuse_data_loss", lambda _, *tables: guarded.extend(tables)
    )

    def columns() -> set[tuple[str, str]]:
        """Return table and column of each line ``table: column 01 name type``."""
        lines = [line.split() for line in described_tables(database) if ": column " in line]
        return {(words[0].removesuffix(":"), words[3]) for words in lines}

    for revision in reversed(REVISIONS):
        before = columns()
        guarded.clear()

        downgrade_to(database, "-1")

        dropped_from = {table for table, _ in before - columns()}
        assert dropped_from & set(metadata.tables) <= set(guarded), revision


def test_downgrade_stops_before_revision_that_destroys_rows(database: URL) -> None:
    execute(database, STATUS)

    output = refused_by_alembic(database, "downgrade", "001")

    assert "would destroy rows of twap_status;" in output
    assert (recorded(database), len(rows_of_001(database))) == (["002"], 1)


def test_downgrade_with_allow_data_loss_drops_orders(database: URL) -> None:
    execute(database, ORDER)

    alembic(database, *ALLOW_DATA_LOSS, "downgrade", "001")

    assert recorded(database) == ["001"]


def test_downgrade_to_base_needs_allow_data_loss(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LOG_ENTRY}")

    output = refused_by_alembic(empty_database, "-x", "allow-data-loss=no", "downgrade", "base")
    assert "would destroy rows of twap_status, etl_s3_ingest_log;" in output
    assert recorded(empty_database) == ["001"]

    alembic(empty_database, *ALLOW_DATA_LOSS, "downgrade", "base")
    assert recorded(empty_database) == []


def test_row_committed_during_downgrade_is_kept(database: URL) -> None:
    with ThreadPoolExecutor(1) as thread, psycopg.connect(in_clear(database)) as writer:
        writer.execute(STATUS.encode())
        downgrade = thread.submit(refused_by_alembic, database, "downgrade", "001")
        assert await_true(lambda: count_sessions(database, "wait_event_type = 'Lock'") == 1, DEADLINE_SECONDS)
        writer.commit()

        output = downgrade.result(DEADLINE_SECONDS)

    assert "would destroy rows of twap_status;" in output
    assert (recorded(database), len(rows_of_001(database))) == (["002"], 1)
