"""Loads of whole samples, from a directory and from S3, concurrent loads, and a database that fails during a load."""

import csv
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import URL, Connection, Engine, text

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.ingest.load import IngestResult, ingest_object, ingest_objects
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.files import write_parquet
from twap_pipeline.sample.manifest import STATUSES
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.s3 import S3Bucket, S3Location
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.loading.row_writer import load_rows
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.factories import NOON, Bucket, event
from twap_pipeline_tests.invariants import digest, ingest_everything
from twap_pipeline_tests.mutants import expect_failure, no_object_lock
from twap_pipeline_tests.real_orders import REAL_ORDERS, real_events
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.sample.sample_reader import SMALL, count_orders, objects_of, read_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The statuses of a small sample with every edge case; tests must not change it."""
    directory = tmp_path_factory.mktemp("sample") / "sample"
    generate_sample(directory, SMALL)
    return directory / STATUSES


@pytest.fixture
def other_engine(server_url: str, template: str) -> Iterator[Engine]:
    """A second database at head."""
    engine = make_engine(create_database(server_url, template))
    yield engine
    engine.dispose()


def scalar(engine: Engine, statement: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def test_sample_adds_up_and_second_load_changes_nothing(engine: Engine, sample: Path) -> None:
    expected, table = read_sample(sample)
    store = LocalDirectory(sample)

    results = ingest_everything(store, engine)

    row_counts = RowCounts.sum_of(result.row_counts for result in results)
    assert [result.error for result in results if result.error] == []
    assert row_counts.total == sum(pq.read_metadata(path).num_rows for path in objects_of(sample))
    assert row_counts.quarantined == expected["quarantined"]
    assert row_counts.metadata == expected["metadata_rows"]
    assert scalar(engine, "SELECT count(*) FROM twap_status") == row_counts.inserted == len(table)
    before = digest(engine)
    assert ingest_everything(store, engine) == []
    assert digest(engine) == before
    terminal = "status IN ('error', 'finished', 'stopped', 'terminated')"
    orders_with_end = f"SELECT count(DISTINCT twap_id) FROM twap_status WHERE {terminal}"
    assert scalar(engine, orders_with_end) == count_orders(table, TERMINAL_STATUSES)
    assert scalar(engine, "SELECT count(*) FROM twap_status WHERE started_at < '2023-01-01'") == 0
    assert scalar(engine, "SELECT count(*) FROM twap_status WHERE started_at IS NULL") != 0, "a creation time of 0"


def exact(number: str) -> str:
    return format(Decimal(number), "f")


def test_real_orders_are_stored_digit_by_digit(engine: Engine, tmp_path: Path) -> None:
    write_parquet(tmp_path / "real.parquet", real_events(), datetime(2026, 10, 2, tzinfo=UTC))
    ingest_everything(LocalDirectory(tmp_path), engine)

    orders = list(csv.DictReader(REAL_ORDERS.read_text("utf-8").splitlines()))
    assert len(orders) == 16
    for order in orders:
        with engine.connect() as connection:
            first, *later = order_history(connection, order["twap_id"])
            check_activation(first.ts, str(first.size_executed), first.status, order)
            assert (first.asset, first.wallet, first.side) == (order["coin"], order["user"], order["side"])
            assert format(first.size_requested or 0, "f") == exact(order["sz"])
            assert first.duration_minutes == int(order["minutes"])
            check_end(connection, order)
        assert len(later) == (1 if order["final_time"] else 0)


def check_activation(ts: datetime, executed: str, status: str | None, order: dict[str, str]) -> None:
    created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(order["created_ms"]))
    assert (ts, executed, status) == (created, "0.0", "activated")


def check_end(connection: Connection, order: dict[str, str]) -> None:
    if not order["final_time"]:
        return
    last = order_history(connection, order["twap_id"])[-1]
    nanoseconds = int(order["final_time"]) * (1 if len(order["final_time"]) == 19 else 10**9)
    assert last.ts == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    assert last.status == order["final_status"]
    assert last.status_error == (order["final_error"] or None)
    assert format(last.size_executed or 0, "f") == exact(order["executed_sz"])
    assert format(last.notional_executed or 0, "f") == exact(order["executed_ntl"])


def test_same_objects_from_s3_give_the_same_table(
    engine: Engine, other_engine: Engine, sample: Path, s3: S3Server
) -> None:
    store = LocalDirectory(sample)
    s3.client().create_bucket(Bucket="twap")
    for ref in store.list_objects():
        s3.client().upload_file(str(sample / ref.key), "twap", f"raw/twap_statuses/{ref.key}")
    client = S3Resource(endpoint_url=s3.url, region_name="us-east-1").get_client()
    bucket = S3Bucket(client, S3Location("twap", "raw/twap_statuses/"))

    results = ingest_everything(bucket, engine)
    ingest_everything(store, other_engine)

    assert [result.error for result in results if result.error] == []
    assert digest(engine) == digest(other_engine)
    assert scalar(engine, "SELECT bool_and(checksum_verified) FROM etl_s3_ingest_log") is True


@pytest.mark.fault("W4")
def test_concurrent_loads_of_an_object_load_it_once(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 2_000)])

    assert sorted(result.skipped for result in load_four_times(engine, bucket)) == [False, True, True, True]
    assert scalar(engine, "SELECT rows_inserted FROM etl_s3_ingest_log") == 1_999
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 1_999


def load_four_times(engine: Engine, bucket: Bucket) -> list[IngestResult]:
    """Load a.parquet in four threads at once."""
    store = LocalDirectory(bucket.directory)
    ref = next(ref for ref in store.list_objects() if ref.key == "a.parquet")
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda _: ingest_object(store, engine, ref, bucket.day), range(4)))


@pytest.fixture
def stored_by_another_object(engine: Engine, bucket: Bucket) -> Bucket:
    """A bucket where a.parquet contains only events that a newer object has stored: no load of it inserts a row."""
    rows = [event(twap_id) for twap_id in range(1, 2_000)]
    bucket.put("newer.parquet", rows, hours=1)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put("a.parquet", rows)
    return bucket


@pytest.mark.fault("W4")
def test_concurrent_loads_without_new_rows_load_once(engine: Engine, stored_by_another_object: Bucket) -> None:
    results = load_four_times(engine, stored_by_another_object)

    assert sorted(result.skipped for result in results) == [False, True, True, True]
    assert sum(result.row_counts.unchanged for result in results) == 1_999


@pytest.mark.fault("W4", control=True)
def test_no_object_lock_mutant_is_detected(engine: Engine, stored_by_another_object: Bucket) -> None:
    with expect_failure(no_object_lock):
        test_concurrent_loads_without_new_rows_load_once(engine, stored_by_another_object)


@pytest.mark.fault("W5")
def test_concurrent_loads_of_shared_events_do_not_deadlock(engine: Engine, bucket: Bucket) -> None:
    rows = [event(twap_id) for twap_id in range(1, 3_000)]
    for number in range(6):
        bucket.put(f"{number}.parquet", rows if number % 2 else rows[::-1], hours=number)
    store = LocalDirectory(bucket.directory)

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda ref: ingest_object(store, engine, ref, bucket.day), store.list_objects()))

    assert [result.error for result in results if result.error] == []
    assert sum(result.row_counts.inserted for result in results) == 2_999
    assert all(result.row_counts.total == 2_999 for result in results)
    assert scalar(engine, "SELECT array_agg(DISTINCT s3_object_key) FROM twap_status") == ["5.parquet"]


def test_concurrent_load_equals_sequential_load(engine: Engine, other_engine: Engine, sample: Path) -> None:
    store = LocalDirectory(sample)
    refs = sorted(store.list_objects())

    sequential = [ingest_object(store, other_engine, ref, ref.last_modified.date()) for ref in refs]
    concurrent = ingest_objects(store, engine, refs, NOON.date(), connections=3)

    assert [result.ref for result in concurrent] == refs
    assert (
        RowCounts.sum_of(result.row_counts for result in concurrent).total
        == RowCounts.sum_of(result.row_counts for result in sequential).total
    )
    assert digest(engine) == digest(other_engine)


def test_load_opens_a_connection_per_write_and_one_more(database: URL, bucket: Bucket) -> None:
    """The pool keeps up to five connections open, so that they can be counted after the load."""
    for number in range(30):
        bucket.put(f"{number:02}.parquet", [event(number)])
    store, engine = LocalDirectory(bucket.directory), make_engine(database, "twap_pipeline_counted")
    with closing(psycopg.connect(database.render_as_string(hide_password=False))) as other:
        ingest_objects(store, engine, store.list_objects(), bucket.day, connections=2)
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'twap_pipeline_counted'"
        row = other.execute(sessions).fetchone()
    engine.dispose()

    assert row is not None
    assert 1 <= row[0] <= 3


@pytest.mark.fault("R1")
def test_unreadable_object_fails_alone(engine: Engine, bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"{number:02}.parquet", [event(number)])
    (bucket.directory / "07.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(bucket.directory)

    results = ingest_objects(store, engine, store.list_objects(), bucket.day, connections=2)

    assert [result.ref.key for result in results if result.error] == ["07.parquet"]
    assert results[7].failed_attempts == 1
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 19


def test_full_disk_ends_the_load_and_frees_connections(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        bucket.put(f"{number:02}.parquet", [event(number)])
    store = LocalDirectory(bucket.directory)

    def out_of_space(connection: Connection, ref: ObjectRef, *args: object, **options: object) -> RowCounts:
        if ref.key == "04.parquet":
            raise psycopg.errors.DiskFull("could not extend file")
        return load_rows(connection, ref, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("twap_pipeline.ingest.load.load_rows", out_of_space)

    with pytest.raises(psycopg.errors.DiskFull):
        ingest_objects(store, engine, store.list_objects(), bucket.day, connections=2)

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    loaded = scalar(engine, "SELECT count(*) FROM twap_status")
    assert loaded == scalar(engine, "SELECT count(*) FROM etl_s3_ingest_log")
    assert loaded != 30


@pytest.mark.fault("W7")
def test_terminated_backend_is_replaced_and_loads_once(
    engine: Engine, database: URL, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    store = LocalDirectory(bucket.directory)
    (ref,) = store.list_objects()
    killed = threading.Event()

    def load_and_lose_the_connection(connection: Connection, *args: object, **options: object) -> RowCounts:
        row_counts = load_rows(connection, *args, **options)  # type: ignore[arg-type]
        if not killed.is_set():
            killed.set()
            terminate(database, connection.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]
        return row_counts

    monkeypatch.setattr("twap_pipeline.ingest.load.load_rows", load_and_lose_the_connection)

    result = ingest_object(store, engine, ref, bucket.day)

    assert killed.is_set()
    assert result.row_counts == RowCounts(inserted=2)
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 2


def terminate(database: URL, pid: int) -> None:
    with psycopg.connect(database.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_load_logs_each_object_with_its_run(bucket: Bucket, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    bucket.put("good.parquet", [event(1)])
    (bucket.directory / "bad.parquet").write_bytes(b"not parquet")
    caplog.set_level(logging.INFO, "twap_pipeline")
    store = LocalDirectory(bucket.directory)

    for _ in range(3):
        ingest_objects(store, engine, store.list_objects(), NOON.date(), run_id="run")

    lines = sorted((vars(record)["object_key"], record.message, record.levelname) for record in caplog.records)
    assert lines == [  # sorted: two threads load the objects
        *[("bad.parquet", "object failed", "WARNING")] * 2,
        ("bad.parquet", "object parked", "WARNING"),
        ("good.parquet", "object loaded", "INFO"),
        *[("good.parquet", "object skipped: it is already loaded", "INFO")] * 2,
    ]
    assert {vars(record)["run_id"] for record in caplog.records} == {"run"}
