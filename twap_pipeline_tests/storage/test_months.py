"""``twap_status`` partitioned by month: conversion in both directions, and loads, merges and audits on both forms."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Engine, text

from twap_pipeline.domain.months import month_of, next_month
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import DatabaseUnavailableError, TablePartitionError
from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.storage.engine.roles import READER, grant_role
from twap_pipeline.storage.engine.session import psycopg_connection
from twap_pipeline.storage.months import conversion
from twap_pipeline.storage.months.conversion import estimate_conversion, merge_partitions, partition_by_month
from twap_pipeline.storage.months.partitions import create_months, read_table
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.storage.catalog import connected, describe
from twap_pipeline_tests.storage.loaded_objects import load, merge_new_version, scalar
from twap_pipeline_tests.storage.partitioned_table import NEXT_MONTH, ignore, partitions

_ROWS = "SELECT md5(string_agg(event::text, '' ORDER BY twap_id, wallet, ts)) FROM twap_status AS event"


def cursor_of(connection: Connection) -> psycopg.Cursor[TupleRow]:
    return psycopg_connection(connection).cursor()


# Conversion


def test_partition_by_month_keeps_rows_to_the_byte(scenario: PipelineScenario, database: URL) -> None:
    scenario.bucket.put("c.parquet", [event(900, minute=NEXT_MONTH)], hours=24 * 30)
    ingest_everything(scenario.store, scenario.engine)
    before, plain = scalar(scenario.engine, _ROWS), describe(database)
    lines: list[str] = []

    partition_by_month(scenario.engine, lines.append)

    assert partitions(scenario.engine) == ["twap_status_2025_08", "twap_status_2025_09"]
    assert scalar(scenario.engine, _ROWS) == before
    assert "building 7 indexes" in lines
    with scenario.engine.connect() as connection:
        assert drift(connection) == []
    upgrade(scenario.engine)
    scenario.assert_invariants()

    merge_partitions(scenario.engine, ignore)

    assert scalar(scenario.engine, _ROWS) == before
    assert describe(database) == plain


def test_partition_by_month_copies_blocks_in_steps(scenario: PipelineScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "BLOCKS_PER_STEP", 2)
    monkeypatch.setattr(conversion, "_PROGRESS_SECONDS", 0.0)
    ingest_everything(scenario.store, scenario.engine)
    before, lines = scalar(scenario.engine, _ROWS), list[str]()

    partition_by_month(scenario.engine, lines.append)

    assert scalar(scenario.engine, _ROWS) == before
    assert len([line for line in lines if line.startswith("copied ")]) > 1
    assert "100%" in next(line for line in reversed(lines) if line.startswith("copied "))


def test_partition_by_month_interrupted_changes_nothing(scenario: PipelineScenario, database: URL) -> None:
    ingest_everything(scenario.store, scenario.engine)
    before = describe(database)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with activate_failpoint("rows-copied", interrupt), pytest.raises(KeyboardInterrupt):
        partition_by_month(scenario.engine, ignore)

    assert describe(database) == before
    partition_by_month(scenario.engine, ignore)
    scenario.assert_invariants()


def test_partition_by_month_during_a_load_is_refused(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_LOCK_TIMEOUT", "10ms")
    bucket.put("a.parquet", [event(1)])
    refusals: list[str] = []

    def convert() -> None:
        with pytest.raises(TablePartitionError) as raised:
            partition_by_month(engine, ignore)
        refusals.append(str(raised.value))

    with activate_failpoint("before-commit", convert):
        load(engine, bucket, "a.parquet")

    assert refusals == [
        "a session writes to twap_status: stop the loads (sensors, schedules, `twap-pipeline ingest`), then run again"
    ]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO etl_s3_ingest_attempts VALUES ('a', 'e')", "1 objects are being loaded, for example a: wait"),
        ("CREATE INDEX extra_idx ON twap_status (side)", "first: remove_index extra_idx"),
        ("CREATE VIEW mine AS SELECT twap_id FROM twap_status", "twap_status has the view or rule mine, which"),
        (
            "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('1', 'w', '2099-01-01', 'a')",
            "months that get no partition: 1 of 2099-01;",
        ),
    ],
)
def test_partition_by_month_of_unfit_table_is_refused(engine: Engine, statement: str, message: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))

    with pytest.raises(TablePartitionError) as raised:
        partition_by_month(engine, ignore)

    assert message in str(raised.value)


def test_partition_by_month_keeps_grants_of_reader(engine: Engine, database: URL, bucket: Bucket) -> None:
    role = f"months-{database.database}"
    password = grant_role(engine, role, READER).password
    partition_by_month(engine, ignore)
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")

    with connected(database.set(username=role, password=password)) as reader:
        assert scalar(reader, "SELECT count(*) FROM twap_status") == 1
        with pytest.raises(Exception, match="permission denied"):
            scalar(reader, "DELETE FROM twap_status RETURNING 1")


def test_partition_by_month_twice_creates_months_until(partitioned: Engine) -> None:
    this_month = month_of(datetime.now(UTC).date())

    table = partition_by_month(partitioned, ignore, until=next_month(this_month))

    assert table.partitions == {f"twap_status_{month:%Y_%m}" for month in (this_month, next_month(this_month))}


def test_merge_partitions_of_plain_table_is_refused(engine: Engine) -> None:
    with pytest.raises(TablePartitionError, match="twap_status is not partitioned: there is nothing to undo"):
        merge_partitions(engine, ignore)


def test_estimate_conversion_has_size_of_all_partitions(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(n) for n in range(1, 300)])
    load(engine, bucket, "a.parquet")

    def estimate() -> tuple[int, int]:
        with engine.begin() as connection:
            connection.execute(text("ANALYZE twap_status"))
            found = estimate_conversion(connection)
            return found.rows, found.size_bytes

    rows, size_bytes = estimate()
    partition_by_month(engine, ignore)

    assert rows == estimate()[0] == 299
    assert 0.5 * size_bytes < estimate()[1] < 1.5 * size_bytes


# Loading


def test_loader_creates_months_of_a_batch(partitioned: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=NEXT_MONTH)], hours=24 * 30)

    assert load(partitioned, bucket, "a.parquet")[0].row_counts == RowCounts(inserted=2)

    assert partitions(partitioned) == ["twap_status_2025_08", "twap_status_2025_09"]
    with partitioned.connect() as connection:
        assert drift(connection) == []


def test_merge_of_batch_with_two_months_counts_each_row(partitioned: Engine, bucket: Bucket) -> None:
    rows = [event(1), event(2), event(1, minute=NEXT_MONTH), event(2, minute=NEXT_MONTH)]
    bucket.put("a.parquet", rows, hours=24 * 30)
    load(partitioned, bucket, "a.parquet")
    rows[1]["status"], rows[3]["status"] = "finished", "finished"
    bucket.put("b.parquet", [*rows, event(3)], hours=24 * 30 + 1)

    counts = load(partitioned, bucket, "b.parquet")[0].row_counts

    assert counts == RowCounts(inserted=1, updated=4)


def test_load_that_fails_leaves_no_partition(partitioned: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])

    def fail() -> None:
        raise RuntimeError

    with activate_failpoint("before-commit", fail), pytest.raises(RuntimeError):
        load(partitioned, bucket, "a.parquet")

    assert partitions(partitioned) == []


def test_event_after_next_month_fails_its_object(partitioned: Engine, bucket: Bucket) -> None:
    hours = (datetime.now(UTC) + timedelta(days=90) - datetime(2025, 8, 20, tzinfo=UTC)) // timedelta(hours=1)
    bucket.put("a.parquet", [event(1), event(2, minute=hours * 60)], hours=hours)

    error = load(partitioned, bucket, "a.parquet")[0].error

    assert error is not None
    assert "partitions are created from 2023-01 to the month after the present one" in error
    assert partitions(partitioned) == []


def test_concurrent_loaders_create_a_month_once(partitioned: Engine, bucket: Bucket) -> None:
    """The second loader waits for the first one, and then finds the partition."""
    bucket.put("a.parquet", [event(1)])
    bucket.put("b.parquet", [event(2)])
    waits: list[str] = []

    def load_second() -> None:
        with partitioned.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            cursor = cursor_of(connection)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                create_months(cursor, read_table(cursor, "twap_status"), [date(2025, 8, 1)])
            waits.append("waited")

    with activate_failpoint("before-commit", load_second):
        load(partitioned, bucket, "a.parquet")
    assert load(partitioned, bucket, "b.parquet")[0].row_counts == RowCounts(inserted=1)

    assert waits == ["waited"]
    assert partitions(partitioned) == ["twap_status_2025_08"]


def test_loader_without_ownership_names_the_remedy(partitioned: Engine, bucket: Bucket, database: URL) -> None:
    role = f"loader-{database.database}"
    with partitioned.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'")
        connection.exec_driver_sql(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')
        connection.exec_driver_sql(f'GRANT CREATE ON SCHEMA public TO "{role}"')
    bucket.put("a.parquet", [event(1)])

    with connected(database.set(username=role, password="x")) as loader:
        with pytest.raises(DatabaseUnavailableError) as raised:
            load(loader, bucket, "a.parquet")
        assert "twap_status has no partition for 2025-08, and it cannot be created: " in str(raised.value)
        assert "run `twap-pipeline partition-by-month` as the owner" in str(raised.value)

        with partitioned.begin() as connection:
            cursor = cursor_of(connection)
            create_months(cursor, read_table(cursor, "twap_status"), [date(2025, 8, 1)])
        load(loader, bucket, "a.parquet")
        bucket.put("b.parquet", [event(1, status="finished")])
        assert load(loader, bucket, "b.parquet")[0].row_counts == RowCounts(updated=1)


def test_merge_in_partition_scans_no_row_with_stale_statistics(partitioned: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(number) for number in range(5_000)])
    load(partitioned, bucket, "a.parquet")
    bucket.put("a.parquet", [event(number, executed="1") for number in range(5_000)], hours=1)
    with partitioned.begin() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = 0 WHERE relname LIKE 'twap_status%'"))
        connection.execute(text("ALTER TABLE twap_status_2025_08 SET (autovacuum_enabled = false)"))
        scans = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'twap_status_2025_08'")
        before = connection.execute(scans).scalar_one()

        assert merge_new_version(connection, bucket) == RowCounts(updated=5_000)

        assert connection.execute(scans).scalar_one() == before
