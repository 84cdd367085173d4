"""The two write paths, the versions of an object, and the row counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.loading import row_writer
from twap_pipeline.storage.loading.merge import merge_staged
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import digest
from twap_pipeline_tests.storage.loaded_objects import DATED, load, log_entry, merge_new_version, scalar, statuses

# Versions of an object


@pytest.mark.usefixtures("both_table_forms")
def test_object_with_new_events_is_inserted(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30, executed="10")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=2)
    assert statuses(engine) == [("activated", Decimal("0.0")), ("finished", Decimal(10))]


@pytest.mark.usefixtures("both_table_forms")
def test_object_loaded_twice_is_skipped(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    before = digest(engine)

    (again,) = load(engine, bucket, "a.parquet")

    assert again.skipped
    assert digest(engine) == before


@pytest.mark.fault("D2")
def test_overwritten_object_is_loaded_again(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    first_etag = log_entry(engine).etag
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30)], hours=1)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)
    with engine.connect() as connection:
        past = connection.execute(text("SELECT kind, etag, rows_inserted FROM etl_s3_ingest_history")).one()
    assert past == ("replaced_version", first_etag, 1)


def test_replaced_version_leaves_the_log_alone(engine: Engine, bucket: Bucket) -> None:
    """A loader that listed the object before it was overwritten loads nothing and records no failure."""
    bucket.put("a.parquet", [event(1)])
    store = LocalDirectory(bucket.directory)
    (old,) = store.list_objects()
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    load(engine, bucket, "a.parquet")

    late = ingest_object(store, engine, old, bucket.day)

    assert late.skipped
    assert log_entry(engine).error_text is None


def test_same_bytes_with_new_etag_are_loaded_again(engine: Engine, bucket: Bucket) -> None:
    rows = [event(1), event(1, executed="1"), event(2, wallet="nobody")]
    bucket.put(DATED, rows)
    (first,) = load(engine, bucket, DATED)
    etag = log_entry(engine).etag
    bucket.put(DATED, rows, hours=1)

    (again,) = load(engine, bucket, DATED)

    assert first.row_counts == RowCounts(inserted=1, superseded=1, quarantined=1)
    assert again.row_counts == RowCounts(unchanged=1, superseded=1, quarantined=1)
    entry, uploaded_again = log_entry(engine), datetime(2025, 8, 21, 13, tzinfo=UTC)
    assert (entry.rows_inserted, entry.error_text, entry.last_modified) == (0, None, uploaded_again)
    assert entry.etag != etag
    assert scalar(engine, "SELECT s3_last_modified FROM twap_status") == uploaded_again
    with engine.connect() as connection:
        past = connection.execute(text("SELECT kind, etag, rows_inserted FROM etl_s3_ingest_history")).one()
    assert past == ("replaced_version", etag, 1)
    assert load(engine, bucket, DATED)[0].skipped
    assert audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day) == []


def test_same_bytes_are_loaded_again_after_a_requeue(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status"))
        requeue(connection, ["a.parquet"], "its rows are gone")
    bucket.put("a.parquet", [event(1)], hours=1)

    (again,) = load(engine, bucket, "a.parquet")

    assert again.row_counts == RowCounts(inserted=1)


@pytest.mark.fault("D1")
def test_version_with_older_last_modified_is_loaded(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], hours=5)
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=0)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)


# The two write paths


def test_only_batches_with_stored_keys_are_merged(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    merges: list[RowCounts] = []
    bucket.put("other.parquet", [event(3)])
    load(engine, bucket, "other.parquet")
    bucket.put("a.parquet", [event(number) for number in range(12)], hours=1)

    def record_merge(*arguments: Any) -> RowCounts:
        merges.append(merge_staged(*arguments))
        return merges[-1]

    monkeypatch.setattr(row_writer, "merge_staged", record_merge)
    (result,) = load(engine, bucket, "a.parquet", batch_rows=2)

    # The batch after a merged one is merged too; it contains only new keys, so COPY writes the four that follow.
    assert merges == [RowCounts(inserted=1, updated=1), RowCounts(inserted=2)]
    assert result.row_counts == RowCounts(inserted=11, updated=1)


def test_merge_uses_the_primary_key_with_stale_statistics(engine: Engine, bucket: Bucket) -> None:
    """An ANALYZE during a first load leaves reltuples = 0; a plan that trusts it scans the table once per row."""
    bucket.put("a.parquet", [event(number) for number in range(5_000)])
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(number, executed="1") for number in range(5_000)], hours=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = 0 WHERE relname LIKE 'twap_status%'"))
        connection.execute(text("ALTER TABLE twap_status SET (autovacuum_enabled = false)"))
        scans = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'twap_status'")
        before = int(connection.execute(scans).scalar_one())
        results = merge_new_version(connection, bucket)
        rows_scanned = int(connection.execute(scans).scalar_one()) - before

    assert results == RowCounts(updated=5_000)
    assert rows_scanned == 0


def test_merge_of_equal_times_reads_one_row_per_key(engine: Engine, bucket: Bucket) -> None:
    """If the statistics say that all times differ, a lookup by time looks cheap, and reads all rows of that time."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE twap_status SET (autovacuum_enabled = false)"))
    bucket.put("a.parquet", [event(number, minute=number) for number in range(5_000)])
    load(engine, bucket, "a.parquet")
    with engine.begin() as connection:
        connection.execute(text("ANALYZE twap_status"))
    bucket.put("a.parquet", [event(number) for number in range(10_000, 12_000)], hours=1)
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(number, executed="1") for number in range(10_000, 12_000)], hours=2)
    fetched = text("SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'twap_status'")
    with engine.begin() as connection:
        before = connection.execute(fetched).scalar_one()
        results = merge_new_version(connection, bucket)
        rows_fetched = connection.execute(fetched).scalar_one() - before

    assert results == RowCounts(updated=2_000)
    assert rows_fetched < 3 * 2_000


@pytest.fixture
def overlapping(engine: Engine, bucket: Bucket) -> Bucket:
    """Events 1 to 3 are loaded from an older object; newer.parquet contains other versions of them, and event 4."""
    bucket.put("older.parquet", [event(number, executed="1") for number in (1, 2, 3)])
    load(engine, bucket, "older.parquet")
    bucket.put("newer.parquet", [event(number, executed="2") for number in (1, 2, 3, 4)], hours=1)
    return bucket


def executed_sizes(engine: Engine) -> list[Decimal | None]:
    with engine.connect() as connection:
        return [order_history(connection, str(number))[0].size_executed for number in range(1, 5)]


def test_newer_object_updates_and_inserts(engine: Engine, overlapping: Bucket) -> None:
    (result,) = load(engine, overlapping, "newer.parquet")

    assert result.row_counts == RowCounts(inserted=1, updated=3)
    assert executed_sizes(engine) == [2, 2, 2, 2]


def load_while(engine: Engine, bucket: Bucket, change: Callable[[Connection], object]) -> IngestResult:
    """Load newer.parquet while another transaction has an uncommitted change, which commits once the load waits."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with engine.connect() as other, ThreadPoolExecutor(1) as thread:
        change(other)
        loading = thread.submit(load, engine, bucket, "newer.parquet")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as monitor:
            until(lambda: monitor.execute(waiting).scalar_one(), 20, "the load waits for the other transaction")
        other.commit()
        (result,) = loading.result(20)
    return result


def test_row_updated_concurrently_keeps_its_precedence(engine: Engine, overlapping: Bucket) -> None:
    statement = "UPDATE twap_status SET size_executed = 9, s3_last_modified = '2030-01-01Z' WHERE twap_id = '2'"

    result = load_while(engine, overlapping, lambda other: other.execute(text(statement)))

    assert result.row_counts == RowCounts(inserted=1, updated=2, superseded=1)
    assert executed_sizes(engine) == [2, 9, 2, 2]


def test_row_inserted_concurrently_is_updated(engine: Engine, overlapping: Bucket) -> None:
    statement = """
    INSERT INTO twap_status (twap_id, wallet, ts, status, size_executed, raw_payload, s3_object_key, s3_last_modified)
    SELECT '4', wallet, ts, status, 7, raw_payload, 'between.parquet', s3_last_modified
    FROM twap_status WHERE twap_id = '1'
    """

    result = load_while(engine, overlapping, lambda other: other.execute(text(statement)))

    assert result.row_counts == RowCounts(updated=4)
    assert executed_sizes(engine) == [2, 2, 2, 2]


def test_ingest_log_rejects_counts_that_do_not_add_up(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")

    with engine.connect() as connection, pytest.raises(Exception, match="row_counts_sum") as raised:
        connection.execute(text("UPDATE etl_s3_ingest_log SET rows_inserted = rows_inserted + 1"))
    assert isinstance(raised.value.__cause__, psycopg.errors.CheckViolation)


@pytest.mark.fault("F2")
def test_object_without_rows_is_loaded(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], keep=0)

    (result,) = load(engine, bucket, "a.parquet")

    assert (result.error, result.row_counts) == (None, RowCounts())
    assert log_entry(engine).rows_read == 0


def test_duplicate_across_many_batches_is_superseded(engine: Engine, bucket: Bucket) -> None:
    many = [event(twap_id) for twap_id in range(1, 41)]
    bucket.put("a.parquet", [*many, event(1, status="finished")])

    (result,) = load(engine, bucket, "a.parquet", batch_rows=5)

    assert result.row_counts == RowCounts(inserted=40, superseded=1)
    assert statuses(engine, 1) == [("finished", Decimal("0.0"))]


@pytest.mark.fault("R1")
def test_unreadable_object_is_recorded_with_its_attempts(engine: Engine, bucket: Bucket) -> None:
    (bucket.directory / "bad.parquet").write_bytes(b"not parquet")

    results = [load(engine, bucket, "bad.parquet")[0] for _ in range(3)]

    assert [result.failed_attempts for result in results] == [1, 2, 3]
    entry = log_entry(engine)
    assert (entry.rows_ingested, entry.failed_attempts) == (None, 3)
    assert "parquet" in entry.error_text
    assert {result.error for result in results} == {entry.error_text}


def test_source_directory_is_not_changed(engine: Engine, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.parquet", [event(1)])

    load(engine, bucket, "a.parquet")

    assert [path.name for path in bucket.directory.iterdir()] == ["a.parquet"]
    assert bucket.directory.is_relative_to(tmp_path)
