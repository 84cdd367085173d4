"""The sensor ``new_twap_objects`` with an in-memory instance, PostgreSQL and a directory or a local S3 server."""

import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs import sensors
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import (
    PARTITION_NAME_TAG,
)
from twap_pipeline.defs.refused_runs import REFUSED_TAG
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.errors import (
    BudgetExceededError,
    DatabaseUnavailableError,
    LocalResourceError,
    ObjectInvalidError,
    SchemaRevisionError,
    SourceAccessError,
    SourceUnavailableError,
)
from twap_pipeline.ingest import load
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.ingest_log import IngestLogEntry, read_ingest_log, requeue
from twap_pipeline.storage.schema.revision_gate import code_head
from twap_pipeline_tests.defs.sensor_ticks import (
    add_failed_run,
    key,
    requested_partitions,
    run,
    run_all,
    skip_message,
    tick,
)
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.mutants import expect_failure, key_alone, retries_without_a_cap, watermark_on_last_modified
from twap_pipeline_tests.s3_server import S3Server, made_up_listing


def fail_loads(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every run fail when it starts to load objects."""

    def fail(*_: object, **__: object) -> None:
        raise error

    patch.setattr(load, "ingest_objects", fail)


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = :revision"), {"revision": revision})


def test_new_objects_are_requested_once(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    first = tick(instance)
    run_all(instance, first)

    assert requested_partitions(first) == [str(DAY)]
    assert skip_message(tick(instance)) == "no pending objects"


@pytest.mark.fault("D1")
def test_late_object_with_old_date_and_time_is_requested(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("new", days=5), [event(1)], hours=99)
    run_all(instance, tick(instance))
    bucket.put(key("late"), [event(2)], hours=-1)

    result = tick(instance)
    run_all(instance, result)

    assert requested_partitions(result) == [str(DAY)]
    assert requested_partitions(tick(instance)) == []


@pytest.mark.fault("D1", control=True)
def test_mutant_watermark_is_detected(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    with expect_failure(watermark_on_last_modified):
        test_late_object_with_old_date_and_time_is_requested(instance, bucket)


@pytest.mark.fault("D2")
def test_overwritten_object_is_requested_again(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    first = tick(instance)
    run_all(instance, first)
    bucket.put(key("a"), [event(1), event(2)], hours=1)

    second = tick(instance)

    assert requested_partitions(second) == [str(DAY)]
    assert (first.run_requests or [])[0].run_key != (second.run_requests or [])[0].run_key


@pytest.mark.fault("D2", control=True)
def test_mutant_key_alone_is_detected(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    with expect_failure(key_alone):
        test_overwritten_object_is_requested_again(instance, bucket)


@pytest.mark.fault("R3")
def test_failed_run_is_requested_again_with_new_run_key(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    fail_loads(monkeypatch, RuntimeError("by the test"))
    first = tick(instance)
    (request,) = first.run_requests or []

    assert not run(instance, request).success
    second = tick(instance)

    assert requested_partitions(second) == [str(DAY)]
    assert (second.run_requests or [])[0].run_key != request.run_key


@pytest.mark.fault("X1")
def test_runs_per_batch_are_limited(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    fail_loads(monkeypatch, RuntimeError("by the test"))
    requests = 0
    for _ in range(10):
        result = tick(instance)
        requests += len(requested_partitions(result))
        run_all(instance, result)

    assert requests == sensors.MAX_RUNS_PER_BATCH
    assert skip_message(result) == "1 pending partitions: 0 in progress, 1 exhausted retries"


@pytest.mark.fault("W7")
def test_exhausted_batch_is_retried_after_retry_window(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    with monkeypatch.context() as patch:
        fail_loads(patch, RuntimeError("by the test"))
        for _ in range(sensors.MAX_RUNS_PER_BATCH):
            run_all(instance, tick(instance))
    assert requested_partitions(tick(instance)) == []

    monkeypatch.setattr(sensors, "RETRY_WINDOW", timedelta(0))
    later = tick(instance)
    run_all(instance, later)

    assert str((later.run_requests or [])[0].run_key).endswith(f":{sensors.MAX_RUNS_PER_BATCH + 1}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 1


@pytest.mark.fault("R6")
@pytest.mark.parametrize("name", ["new_twap_objects", "stale_twap_orders"])
@pytest.mark.parametrize("revision", ["001", "999"])
def test_tick_during_upgrade_is_skipped_with_reason(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, name: str, revision: str
) -> None:
    """During 15 minutes of another revision no run is requested; the first tick afterwards requests the work."""
    bucket.put(key("a"), [event(1)])
    add_failed_run(instance)
    set_revision(engine, revision)
    skipped = [tick(instance, name=name) for _ in range(sensors.MAX_RUNS_PER_BATCH + 1)]
    set_revision(engine, code_head())

    assert [requested_partitions(result) for result in skipped] == [[]] * len(skipped)
    assert f"the database is at {revision}, " in skip_message(skipped[-1])
    assert instance.get_runs_count() == 1
    assert requested_partitions(tick(instance)) == [str(DAY)]


@pytest.mark.fault("W7")
@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (SchemaRevisionError("the database is at 001"), True),
        (DatabaseUnavailableError("no connection"), True),
        (SourceAccessError("GET s3://twap/raw/a: 403"), True),
        (psycopg.OperationalError("the server closed the connection"), True),
        (psycopg.errors.DiskFull("no space left"), False),
        (RuntimeError("a fault of the code"), False),
        (BudgetExceededError("over the budget"), False),
        (LocalResourceError("no space left"), False),
        (ObjectInvalidError("a.parquet", "not parquet"), False),
        (dg.DagsterExecutionInterruptedError(), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.usefixtures("engine")
def test_refused_run_is_not_an_attempt_at_the_objects(
    instance: dg.DagsterInstance,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    *,
    is_refused: bool,
) -> None:
    """Refused runs pause a batch for an hour, other failed runs for a day."""
    bucket.put(key("a"), [event(1)])
    fail_loads(monkeypatch, error)
    run_all(instance, tick(instance))
    (failed,) = instance.get_runs()
    monkeypatch.setattr(sensors, "MAX_RUNS_PER_BATCH", 1)
    within_the_hour = requested_partitions(tick(instance))
    monkeypatch.setattr(sensors, "UNCOUNTED_RETRY_WINDOW", timedelta(0))

    after_the_hour = requested_partitions(tick(instance))

    assert (REFUSED_TAG in failed.tags) == is_refused
    assert within_the_hour == []
    assert after_the_hour == ([str(DAY)] if is_refused else [])


@pytest.mark.fault("X6")
def test_tick_defers_runs_over_the_budget_of_the_day(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one tick would each fit. A run that never fits is requested: it fails and names the budget."""
    for days in range(2):
        bucket.put(key("a", days=days), [event(days)])
    bucket.put(key("large", days=2), [event(number) for number in range(2_000)])
    size = (bucket.directory / key("a")).stat().st_size
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_DAY", str(size * 3 // 2))

    first = tick(instance)
    run_all(instance, dg.SensorResult(run_requests=(first.run_requests or [])[:1]))
    monkeypatch.setattr(sensors, "MAX_RUNS_PER_BATCH", 0)
    second = tick(instance)

    assert requested_partitions(first) == [str(DAY), str(DAY + timedelta(days=2))]
    assert skip_message(second) == (
        "2 pending partitions: 0 in progress, 1 exhausted retries, 1 deferred by TWAP_MAX_BYTES_PER_DAY"
    )


@pytest.mark.fault("X1")
def test_bad_object_is_read_three_times(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"not parquet")
    runs = 0
    for _ in range(10):
        result = tick(instance)
        runs += len(requested_partitions(result))
        run_all(instance, result)

    assert runs == 3
    assert skip_message(result) == "no pending objects"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 3


@pytest.mark.fault("X1", control=True)
def test_mutant_retries_without_cap_is_detected(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    with expect_failure(retries_without_a_cap):
        test_bad_object_is_read_three_times(instance, bucket, engine)


def test_batch_with_run_in_progress_is_not_requested(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    (request,) = tick(instance).run_requests or []
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    tags = {**request.tags, PARTITION_NAME_TAG: str(DAY)}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    assert skip_message(tick(instance)) == "1 pending partitions: 1 in progress, 0 exhausted retries"


@pytest.mark.fault("D6")
def test_tick_limits_keep_every_partition(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "REQUESTS_PER_TICK", 2)
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 5)
    for days in range(6):
        for name in "abc":
            bucket.put(key(name, days=days), [event(days)])
    requested, cursor = [], ""
    for _ in range(12):
        result = tick(instance, cursor)
        run_all(instance, result)
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
def test_tick_with_100k_pending_objects_is_limited(instance: dg.DagsterInstance, long_bucket: S3Server) -> None:
    long_bucket.faults.append(made_up_listing(keys_of_days(400, 250)))
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    requested: list[str] = []
    cursor, rss_before = "", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        long_bucket.requests.clear()
        started = time.monotonic()
        result = tick(instance, cursor)
        assert time.monotonic() - started < sensors.SECONDS_PER_TICK + 10
        assert len(requested_partitions(result)) == sensors.REQUESTS_PER_TICK
        assert long_bucket.requests["LIST"] <= sensors.KEYS_PER_TICK / 1_000 + 1 + sensors.RECENT_DAYS
        assert long_bucket.requests["GET"] == 0
        for request in result.run_requests or []:
            tags = {**request.tags, PARTITION_NAME_TAG: request.partition_key or ""}
            instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        requested += requested_partitions(result)
        cursor = result.cursor or ""

    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before
    assert growth * (1 if sys.platform == "darwin" else 1_024) < 150_000_000
    assert requested == [str(DAY + timedelta(days=number)) for number in range(2 * sensors.REQUESTS_PER_TICK)]


def fill_slices(instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load three days in the directory ``hourly``, of which a tick lists two objects."""
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 2)
    for days in range(3):
        bucket.put(key("a", days=days), [event(days)])
        bucket.put(key("b", days=days), [event(10 + days)])
    cursor = ""
    for _ in range(4):
        result = tick(instance, cursor)
        run_all(instance, result)
        cursor = result.cursor or ""


@pytest.mark.fault("D1")
def test_run_lists_the_layout_that_the_tick_recorded(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second layout appears under an old day, which has objects in the first one."""
    fill_slices(instance, bucket, monkeypatch)
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
    fill_slices(instance, bucket, monkeypatch)
    bucket.put(key("b"), [event(1), event(2)], hours=1)

    result = tick(instance)
    run_all(instance, result)

    assert requested_partitions(result) == [str(DAY)]
    assert skip_message(tick(instance)) == "no pending objects"


def test_tick_of_a_slice_records_recent_source_partitions(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_slices(instance, bucket, monkeypatch)
    today = datetime.now(UTC).date()
    recent_key = f"hourly/{today:%Y/%m/%d}/12/a.parquet"
    bucket.put(recent_key, [event(50)])

    result = tick(instance)

    records = instance.fetch_materializations(AssetCatalog().source_key, limit=10).records
    assert [record.partition_key for record in records] == [str(today)]
    assert requested_partitions(result) == [str(today)]


def test_tick_reads_log_entries_of_listed_keys(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_slices(instance, bucket, monkeypatch)
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

    records = instance.fetch_materializations(AssetCatalog().source_key, limit=10).records
    assert [record.partition_key for record in records] == [str(DAY)]


def test_requeued_object_is_requested_without_limit(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    run_all(instance, tick(instance))

    for _ in range(sensors.MAX_RUNS_PER_BATCH + 1):
        with engine.begin() as connection:
            requeue(connection, [key("a")], "by the test")
        retried = tick(instance)
        run_all(instance, retried)
        assert requested_partitions(retried) == [str(DAY)]
        assert skip_message(tick(instance)) == "no pending objects"
