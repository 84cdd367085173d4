"""Taking objects: the sample whole, the same from S3, two loaders at once, and a database that drops out."""

import csv
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import URL, Connection, Engine, text

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.ingest.load import IngestResult, ingest_object, ingest_objects
from twap_pipeline.sample import SampleSummary, generate_sample
from twap_pipeline.source.base import S3Location
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.loading.status_writer import load_rows
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.factories import NOON, Bucket, event
from twap_pipeline_tests.invariants import digest, ingest_everything
from twap_pipeline_tests.mutants import expect_failure, nobody_waits
from twap_pipeline_tests.s3_server import S3Server


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    """A small sample with every oddity in it."""
    directory = tmp_path_factory.mktemp("sample") / "sample"
    return directory, generate_sample(directory, days=14, orders_per_day=200)


def scalar(engine: Engine, statement: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def test_the_sample_adds_up_and_a_second_pass_changes_nothing(
    engine: Engine, sample: tuple[Path, SampleSummary]
) -> None:
    directory, expected = sample
    store = LocalDirectory(directory)

    done = ingest_everything(store, engine)

    row_counts = RowCounts.sum_of(one.row_counts for one in done)
    assert [one.error for one in done if one.error] == []
    assert row_counts.total == expected.rows
    assert row_counts.quarantined == expected.rows_quarantined
    assert row_counts.metadata == expected.rows_metadata
    assert (
        scalar(engine, "SELECT count(*) FROM twap_status")
        == row_counts.inserted
        == expected.events - expected.rows_superseded
    )
    before = digest(engine)
    assert ingest_everything(store, engine) == []
    assert digest(engine) == before


def test_every_order_that_ended_has_its_end_in_the_table(engine: Engine, sample: tuple[Path, SampleSummary]) -> None:
    directory, expected = sample

    ingest_everything(LocalDirectory(directory), engine)

    ended = ", ".join(f"'{status}'" for status in TERMINAL_STATUSES)
    found = scalar(engine, f"SELECT count(DISTINCT twap_id) FROM twap_status WHERE status IN ({ended})")
    assert found == expected.orders_ended


def test_creation_times_of_zero_are_unknown_not_1970(engine: Engine, sample: tuple[Path, SampleSummary]) -> None:
    ingest_everything(LocalDirectory(sample[0]), engine)

    assert scalar(engine, "SELECT count(*) FROM twap_status WHERE started_at < '2023-01-01'") == 0
    assert scalar(engine, "SELECT count(*) FROM twap_status WHERE started_at IS NULL") != 0


def real_orders() -> list[dict[str, str]]:
    with files("twap_pipeline.sample").joinpath("real_orders.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def exact(number: str) -> str:
    return format(Decimal(number), "f")


def test_the_real_orders_come_through_to_the_digit(engine: Engine, sample: tuple[Path, SampleSummary]) -> None:
    ingest_everything(LocalDirectory(sample[0]), engine)

    for order in real_orders():
        with engine.connect() as connection:
            first, *rest = order_history(connection, order["twap_id"])
            check_activation(first.ts, str(first.size_executed), first.status, order)
            assert (first.asset, first.wallet, first.side) == (order["coin"], order["user"], order["side"])
            assert format(first.size_requested or 0, "f") == exact(order["sz"])
            assert first.duration_minutes == int(order["minutes"])
            check_end(connection, order)
        assert len(rest) == (1 if order["final_time"] else 0)


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


def test_the_same_objects_from_s3_give_the_same_table(
    engine: Engine, server_url: str, template: str, sample: tuple[Path, SampleSummary], s3: S3Server
) -> None:
    from twap_pipeline_tests.conftest import create_database

    directory, _ = sample
    s3.client().create_bucket(Bucket="twap")
    for ref in LocalDirectory(directory).list_objects():
        s3.client().upload_file(str(directory / ref.key), "twap", f"raw/twap_statuses/{ref.key}")
    client = S3Resource(endpoint_url=s3.url, region_name="us-east-1").get_client()
    bucket = S3Bucket(client, S3Location("twap", "raw/twap_statuses/"))
    other = make_engine(create_database(server_url, template))

    done = ingest_everything(bucket, engine)
    ingest_everything(LocalDirectory(directory), other)

    assert [one.error for one in done if one.error] == []
    assert digest(engine) == digest(other)
    assert scalar(engine, "SELECT bool_and(checksum_verified) FROM etl_s3_ingest_log") is True
    other.dispose()


@pytest.mark.fault("W4")
def test_of_two_loaders_of_one_object_one_loads_and_one_skips(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 2_000)])

    assert sorted(one.skipped for one in load_by_four(engine, bucket)) == [False, True, True, True]
    assert scalar(engine, "SELECT rows_inserted FROM etl_s3_ingest_log") == 1_999
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 1_999


def load_by_four(engine: Engine, bucket: Bucket) -> list[IngestResult]:
    """Load a.parquet by four loaders at once."""
    store = LocalDirectory(bucket.directory)
    ref = next(ref for ref in store.list_objects() if ref.key == "a.parquet")
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(lambda _: ingest_object(store, engine, ref, bucket.day), range(4)))


@pytest.fixture
def said_before(engine: Engine, bucket: Bucket) -> Bucket:
    """A bucket with an object whose events another, loaded and newer, says too: no unique key tells its loaders."""
    rows = [event(twap_id) for twap_id in range(1, 2_000)]
    bucket.put("newer.parquet", rows, hours=1)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put("a.parquet", rows)
    return bucket


@pytest.mark.fault("W4")
def test_also_of_an_object_that_brings_nothing_new(engine: Engine, said_before: Bucket) -> None:
    done = load_by_four(engine, said_before)

    assert sorted(one.skipped for one in done) == [False, True, True, True]
    assert sum(one.row_counts.unchanged for one in done) == 1_999


@pytest.mark.fault("W4", control=True)
def test_without_a_lock_the_object_is_loaded_and_counted_again_on_broken_build(
    engine: Engine, said_before: Bucket
) -> None:
    with expect_failure(nobody_waits):
        test_also_of_an_object_that_brings_nothing_new(engine, said_before)


@pytest.mark.fault("W5")
def test_objects_that_share_events_load_side_by_side_without_a_deadlock(engine: Engine, bucket: Bucket) -> None:
    rows = [event(twap_id) for twap_id in range(1, 3_000)]
    for number in range(6):
        bucket.put(f"{number}.parquet", rows if number % 2 else rows[::-1], hours=number)
    store = LocalDirectory(bucket.directory)

    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(lambda ref: ingest_object(store, engine, ref, bucket.day), store.list_objects()))

    assert [one.error for one in done if one.error] == []
    assert sum(one.row_counts.inserted for one in done) == 2_999
    assert all(one.row_counts.total == 2_999 for one in done)
    assert scalar(engine, "SELECT array_agg(DISTINCT s3_object_key) FROM twap_status") == ["5.parquet"]


def test_objects_side_by_side_end_as_one_after_the_other_would(
    engine: Engine, server_url: str, template: str, sample: tuple[Path, SampleSummary]
) -> None:
    from twap_pipeline_tests.conftest import create_database

    store, other = LocalDirectory(sample[0]), make_engine(create_database(server_url, template))
    refs = sorted(store.list_objects())

    alone = [ingest_object(store, other, ref, ref.last_modified.date()) for ref in refs]
    together = ingest_objects(store, engine, refs, NOON.date(), connections=3)

    assert [one.ref for one in together] == refs
    assert (
        RowCounts.sum_of(one.row_counts for one in together).total
        == RowCounts.sum_of(one.row_counts for one in alone).total
    )
    assert digest(engine) == digest(other)
    other.dispose()


@pytest.mark.fault("R1")
def test_one_bad_object_among_others_is_told_in_its_place(engine: Engine, bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"{number:02}.parquet", [event(number)])
    (bucket.directory / "07.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(bucket.directory)

    done = ingest_objects(store, engine, store.list_objects(), bucket.day, connections=2)

    assert [one.ref.key for one in done if one.error] == ["07.parquet"]
    assert done[7].failed_attempts == 1
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 19


def test_a_database_that_fails_ends_the_day_and_leaves_no_connection_behind(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        bucket.put(f"{number:02}.parquet", [event(number)])
    store = LocalDirectory(bucket.directory)

    def out_of_space(connection: Connection, ref: ObjectRef, *rest: object, **named: bool) -> RowCounts:
        if ref.key == "04.parquet":
            raise psycopg.errors.DiskFull("could not extend file")
        return load_rows(connection, ref, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("twap_pipeline.ingest.load.load_rows", out_of_space)

    with pytest.raises(psycopg.errors.DiskFull):
        ingest_objects(store, engine, store.list_objects(), bucket.day, connections=2)

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    loaded = scalar(engine, "SELECT count(*) FROM twap_status")
    assert loaded == scalar(engine, "SELECT count(*) FROM etl_s3_ingest_log")
    assert loaded != 30


@pytest.mark.fault("W7")
def test_a_backend_that_is_terminated_midway_is_replaced_and_the_object_loaded_once(
    engine: Engine, database: URL, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    store = LocalDirectory(bucket.directory)
    (ref,) = store.list_objects()
    killed = threading.Event()

    def load_and_lose_the_connection(connection: Connection, *rest: object, **named: bool) -> RowCounts:
        row_counts = load_rows(connection, *rest, **named)  # type: ignore[arg-type]
        if not killed.is_set():
            killed.set()
            terminate(database, connection.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]
        return row_counts

    monkeypatch.setattr("twap_pipeline.ingest.load.load_rows", load_and_lose_the_connection)

    done = ingest_object(store, engine, ref, bucket.day)

    assert killed.is_set()
    assert done.row_counts == RowCounts(inserted=2)
    assert scalar(engine, "SELECT count(*) FROM twap_status") == 2


def terminate(database: URL, pid: int) -> None:
    with psycopg.connect(database.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
