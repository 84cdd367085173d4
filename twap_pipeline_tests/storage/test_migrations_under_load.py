"""Migrations that are killed or that meet long transactions fail cleanly, and succeed when they are repeated."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import URL

from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.ingest.load import IngestResult
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.reports.ingest_summary import day_reports
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.storage.catalog import execute, in_clear, recorded, upgrade_to
from twap_pipeline_tests.storage.migrate_process import (
    DEADLINE_SECONDS,
    HEAD,
    MIGRATE,
    change_code,
    count_sessions,
    start,
)

NEXT = "900"
NEXT_REVISION = f'''"""A later release: a column of the ingest log, and an index built concurrently."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.add_column("etl_s3_ingest_log", sa.Column("added_later", sa.Text))
    with op.get_context().autocommit_block():
        op.drop_index("added_later_idx", "twap_status", if_exists=True, postgresql_concurrently=True)
        op.create_index("added_later_idx", "twap_status", ["status"], postgresql_concurrently=True)
'''


@pytest.fixture
def later_code(code: Path) -> Path:
    """A copy of the code with one more, additive revision and a short lock_timeout."""
    (code / "alembic" / "versions" / f"{NEXT}_later.py").write_text(NEXT_REVISION, "utf-8")
    change_code(code, "locks", "LOCK_TIMEOUT_SECONDS = 5.0", "LOCK_TIMEOUT_SECONDS = 0.5")
    return code


@contextmanager
def open_transaction(url: URL, statement: str) -> Iterator[None]:
    """Keep a transaction open that has executed a statement."""
    with psycopg.connect(in_clear(url)) as connection:
        connection.execute(statement.encode())
        yield


def indexes(url: URL) -> dict[str, bool]:
    """Return index name → whether it is valid, of ``twap_status``."""
    with psycopg.connect(in_clear(url)) as connection:
        query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'twap_status'::regclass"
        return dict(connection.execute(query).fetchall())


def migrate(url: URL, code: Path) -> tuple[int, str]:
    """Run a deployer to its end; return its exit status and output."""
    deployer = start(MIGRATE, url, code)
    output, _ = deployer.communicate(timeout=DEADLINE_SECONDS)
    return deployer.returncode, output


WRITE = "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('1', 'w', now(), 'k')"
INDEX = "twap_status_s3_object_key_idx"
TERMINATE_INDEX_BUILD = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'
"""
BUILDING: LiteralString = "query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event_type = 'Lock'"


@pytest.mark.fault("M2")
@pytest.mark.parametrize("with_session", [True, False])
def test_upgrade_after_killed_index_build_succeeds(empty_database: URL, code: Path, with_session: bool) -> None:
    upgrade_to(empty_database, "002")
    with open_transaction(empty_database, WRITE):
        deployer = start(MIGRATE, empty_database, code)
        until(lambda: count_sessions(empty_database, BUILDING) == 1, DEADLINE_SECONDS, "the index waits for the writer")
        deployer.kill()
        deployer.communicate()
        if with_session:
            execute(
                empty_database, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query ~ '^CREATE'"
            )
            assert indexes(empty_database)[INDEX] is False

    status, output = migrate(empty_database, code)

    assert (status, recorded(empty_database)) == (0, [HEAD]), output
    assert INDEX in indexes(empty_database)
    assert all(indexes(empty_database).values())


@pytest.mark.fault("M3")
def test_migration_times_out_during_long_ingest(scenario: PipelineScenario, later_code: Path) -> None:
    half_way, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        half_way.set()
        assert go_on.wait(DEADLINE_SECONDS)

    with activate_failpoint("mid-copy", hold), ThreadPoolExecutor(1) as thread:
        ingest = thread.submit(ingest_everything, scenario.store, scenario.engine)
        assert half_way.wait(DEADLINE_SECONDS)
        refused = migrate(scenario.url, later_code)
        go_on.set()
        done = ingest.result(DEADLINE_SECONDS)

    assert refused[0] == 1
    assert "a migration waited 0.5 seconds (lock_timeout) for a lock that a run or a query holds" in refused[1]
    assert "ALTER TABLE etl_s3_ingest_log ADD COLUMN" in refused[1]
    assert [result.error for result in done] == [None, None]
    scenario.assert_invariants()
    assert migrate(scenario.url, later_code)[0] == 0
    assert recorded(scenario.url) == [NEXT]


@pytest.mark.fault("M3")
def test_migration_times_out_during_long_read(scenario: PipelineScenario, later_code: Path) -> None:
    with open_transaction(scenario.url, "SELECT count(*) FROM etl_s3_ingest_log"):
        refused = migrate(scenario.url, later_code)
        ingest_everything(scenario.store, scenario.engine)

    assert refused[0] == 1
    assert recorded(scenario.url) == [HEAD]
    scenario.assert_invariants()
    assert migrate(scenario.url, later_code)[0] == 0


@pytest.mark.fault("M7")
def test_additive_migration_runs_during_loads_and_reads(scenario: PipelineScenario, later_code: Path) -> None:
    for number in range(20):
        scenario.bucket.put(f"more/{number}.parquet", [event(twap_id) for twap_id in range(600 + number, 700 + number)])
    migrated = threading.Event()
    reads = [0]

    def read() -> None:
        while not migrated.is_set():
            with scenario.engine.connect() as connection:
                read_ingest_log(connection)
                day_reports(connection)
                order_history(connection, "600")
            reads[0] += 1

    def load() -> list[IngestResult]:
        done = ingest_everything(scenario.store, scenario.engine)
        while not migrated.is_set():
            scenario.bucket.put("again.parquet", [event(len(done))], hours=len(done))
            done += ingest_everything(scenario.store, scenario.engine)
        return done

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        loader = threads.submit(load)
        try:
            until(lambda: migrate(scenario.url, later_code)[0] == 0, DEADLINE_SECONDS, "the migration gets its locks")
        finally:
            migrated.set()
        for reader in readers:
            reader.result(DEADLINE_SECONDS)
        done = loader.result(DEADLINE_SECONDS)

    assert reads[0] > 0
    assert [result.error for result in done if result.error] == []
    assert recorded(scenario.url) == [NEXT]
    scenario.assert_invariants()
