"""The sensor ``new_twap_objects`` with an in-memory instance, PostgreSQL and a directory or a local S3 server."""

import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import Connection, Engine
from werkzeug.wrappers import Request, Response

from twap_pipeline.defs import run_requests, sensors
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS
from twap_pipeline.errors import SourceUnavailableError
from twap_pipeline.ingest.day_listing import list_source
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import IngestLogEntry, read_ingest_log
from twap_pipeline_tests.defs.sensor_ticks import add_runs, key, requested_partitions, run_all, skip_message, tick
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure, key_alone, watermark_on_last_modified
from twap_pipeline_tests.s3_server import S3Server, made_up_listing


def test_new_objects_are_requested_once(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    first = tick(instance)
    run_all(instance, first)

    assert requested_partitions(first) == [str(DAY)]
    assert skip_message(tick(instance)) == "no pending objects"


@pytest.mark.fault("D1")
def test_late_object_with_old_date_and_time_is_requested(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("new", days=5), [event(1)], hours=99)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put(key("late"), [event(2)], hours=-1)

    result = tick(instance)
    run_all(instance, result)

    assert requested_partitions(result) == [str(DAY)]
    assert requested_partitions(tick(instance)) == []


@pytest.mark.fault("D1", control=True)
def test_mutant_watermark_is_detected(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    with expect_failure(watermark_on_last_modified):
        test_late_object_with_old_date_and_time_is_requested(instance, bucket, engine)


@pytest.mark.fault("D2")
def test_overwritten_object_is_requested_again(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    first = tick(instance)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put(key("a"), [event(1), event(2)], hours=1)

    second = tick(instance)

    assert requested_partitions(second) == [str(DAY)]
    assert (first.run_requests or [])[0].run_key != (second.run_requests or [])[0].run_key


@pytest.mark.fault("D2", control=True)
def test_mutant_key_alone_is_detected(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    with expect_failure(key_alone):
        test_overwritten_object_is_requested_again(instance, bucket, engine)


@pytest.mark.fault("D6")
def test_tick_limits_keep_every_partition(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_requests, "REQUESTS_PER_TICK", 2)
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 5)
    for days in range(6):
        for name in "abc":
            bucket.put(key(name, days=days), [event(days)])
    requested, cursor = [], ""
    for _ in range(12):
        result = tick(instance, cursor)
        add_runs(instance, result, dg.DagsterRunStatus.STARTED)
        assert len(requested_partitions(result)) <= 2
        requested += requested_partitions(result)
        cursor = result.cursor or ""

    assert sorted(set(requested)) == [str(DAY + timedelta(days=days)) for days in range(6)]
    assert len(requested) == 6


@pytest.fixture
def long_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 bucket whose listing the test replaces."""
    s3.client().create_bucket(Bucket="twap")
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.requests.clear()
    return s3


def keys_of_days(days: int, keys_per_day: int) -> list[str]:
    dates = (DAY + timedelta(days=number) for number in range(days))
    return [f"raw/{day:%Y/%m/%d}/{number:04}.parquet" for day in dates for number in range(keys_per_day)]


@pytest.mark.fault("D5")
def test_incomplete_listing_fails_the_tick(instance: dg.DagsterInstance, long_bucket: S3Server) -> None:
    def second_page_fails(request: Request, response: Response) -> Response:
        broken = "continuation-token" in request.args
        return Response("<Error><Code>SlowDown</Code></Error>", 503) if broken else response

    long_bucket.faults += [made_up_listing(keys_of_days(1, 1_001)), second_page_fails]

    with pytest.raises(SourceUnavailableError, match="503 SlowDown"):
        tick(instance)


def test_tick_sends_one_list_per_thousand_keys_and_no_get(instance: dg.DagsterInstance, long_bucket: S3Server) -> None:
    long_bucket.faults.append(made_up_listing(keys_of_days(1, 1_500)))

    tick(instance)

    assert dict(long_bucket.requests) == {"LIST": 2}


@pytest.mark.fault("D6")
def test_tick_with_100k_pending_objects_is_limited(
    instance: dg.DagsterInstance, long_bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 2_000)
    long_bucket.faults.append(made_up_listing(keys_of_days(1_250, 80)))
    rss_before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    result = tick(instance)

    assert time.monotonic() - started < sensors.SECONDS_PER_TICK + 10
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before
    assert growth * (1 if sys.platform == "darwin" else 1_024) < 150_000_000
    assert long_bucket.requests["LIST"] <= sensors.KEYS_PER_TICK / 1_000 + 1 + sensors.RECENT_DAYS
    assert long_bucket.requests["GET"] == 0
    assert requested_partitions(result) == [
        str(DAY + timedelta(days=number)) for number in range(run_requests.REQUESTS_PER_TICK)
    ]


def fill_slices(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load three days in the directory ``hourly``, of which a tick lists two objects."""
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 2)
    for days in range(3):
        bucket.put(key("a", days=days), [event(days)])
        bucket.put(key("b", days=days), [event(10 + days)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)
    list_source(store, engine, KEY_DATE_PATTERNS)  # records the layout of the keys, as each run does
    cursor = ""
    for _ in range(4):
        cursor = tick(instance, cursor).cursor or ""


@pytest.mark.fault("D1")
def test_run_lists_the_layout_that_the_tick_recorded(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second layout appears under an old day, which has objects in the first one."""
    fill_slices(instance, bucket, engine, monkeypatch)
    late_key = f"z/date={DAY}/late.parquet"
    bucket.put(late_key, [event(99)], hours=-99)

    result = tick(instance, key("b", days=2))
    run_all(instance, result)

    assert requested_partitions(result) == [str(DAY)]
    with engine.connect() as connection:
        entry = read_ingest_log(connection, [late_key])[late_key]
    assert entry.error_text is None


@pytest.mark.fault("D2")
def test_overwritten_object_of_old_day_is_found_by_a_slice(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_slices(instance, bucket, engine, monkeypatch)
    bucket.put(key("b"), [event(1), event(2)], hours=1)

    result = tick(instance)
    run_all(instance, result)

    assert requested_partitions(result) == [str(DAY)]
    assert skip_message(tick(instance)) == "no pending objects"


def test_tick_of_a_slice_records_recent_source_partitions(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_slices(instance, bucket, engine, monkeypatch)
    today = datetime.now(UTC).date()
    recent_key = f"hourly/{today:%Y/%m/%d}/12/a.parquet"
    bucket.put(recent_key, [event(50)])

    result = tick(instance)

    records = instance.fetch_materializations(AssetCatalog().key("twap_s3_objects"), limit=10).records
    assert [record.partition_key for record in records] == [str(today)]
    assert requested_partitions(result) == [str(today)]


def test_tick_reads_log_entries_of_listed_keys(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_slices(instance, bucket, engine, monkeypatch)
    read_keys: list[list[str]] = []

    def read(connection: Connection, keys: list[str], *, data_set: DataSet) -> dict[str, IngestLogEntry]:
        read_keys.append(keys)
        return read_ingest_log(connection, keys, data_set=data_set)

    monkeypatch.setattr(sensors, "read_ingest_log", read)
    tick(instance)

    assert read_keys == [[key("a"), key("b")]]


def test_tick_finds_the_runs_of_all_batches_by_one_query(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in range(5):
        bucket.put(key("a", days=days), [event(days)])
    queries: list[str] = []

    def count(name: str) -> Callable[..., object]:
        method = getattr(instance.run_storage, name)

        def call(*arguments: object, **named: object) -> object:
            queries.append(name)
            return method(*arguments, **named)

        return call

    for name in ("get_runs", "get_run_records", "get_runs_count"):
        monkeypatch.setattr(instance.run_storage, name, count(name))
    tick(instance)

    assert queries == ["get_run_records"]


def test_source_partition_is_recorded_once(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    tick(instance)
    tick(instance)

    records = instance.fetch_materializations(AssetCatalog().key("twap_s3_objects"), limit=10).records
    assert [record.partition_key for record in records] == [str(DAY)]
