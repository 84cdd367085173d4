"""The sensor as a state machine: real instance, real ledger, a directory as the bucket, no mocks."""

import resource
import sys
import time
from datetime import timedelta

import dagster as dg
import pytest
from alembic.script import ScriptDirectory
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from sqlalchemy import Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs import sensors
from twap_pipeline.defs.assets import SOURCE_KEY
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.errors import SourceUnavailableError
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.schema.revision_gate import migrations_config
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.mutants import expect_failure, key_alone, retries_without_a_cap, watermark_on_last_modified
from twap_pipeline_tests.s3_server import S3Server, made_up_listing


def tick(instance: dg.DagsterInstance, cursor: str = "", name: str = "new_twap_objects") -> dg.SensorResult:
    definitions = build_definitions(load_settings())
    sensor = definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, resources=dict(definitions.resources or {})
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> list[str]:
    return [request.partition_key or "" for request in result.run_requests or []]


def run(
    instance: dg.DagsterInstance, request: dg.RunRequest, job_name: str = "ingest_twap_status"
) -> dg.ExecuteInProcessResult:
    """Do what the daemon does with a request."""
    job = build_definitions(load_settings()).resolve_job_def(job_name)
    return job.execute_in_process(
        instance=instance, partition_key=request.partition_key, tags=dict(request.tags), raise_on_error=False
    )


def ranges(result: dg.SensorResult) -> list[tuple[str, str]]:
    """Return the first and last day of each run that was asked for."""
    requests = result.run_requests or []
    return [
        (request.tags[ASSET_PARTITION_RANGE_START_TAG], request.tags[ASSET_PARTITION_RANGE_END_TAG])
        for request in requests
    ]


def run_all(instance: dg.DagsterInstance, result: dg.SensorResult) -> None:
    for request in result.run_requests or []:
        run(instance, request)


def skip_message(result: dg.SensorResult) -> str:
    return (
        result.skip_reason.skip_message if isinstance(result.skip_reason, dg.SkipReason) else result.skip_reason
    ) or ""


def key(name: str, days: int = 0) -> str:
    return f"hourly/{DAY + timedelta(days=days):%Y/%m/%d}/12/{name}.parquet"


def test_a_day_with_new_objects_is_asked_for_once_and_then_all_is_loaded(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    first = tick(instance)
    run_all(instance, first)

    assert asked(first) == [str(DAY)]
    assert skip_message(tick(instance)) == "every object listed is loaded, or parked"


@pytest.mark.fault("D1")
def test_an_object_that_appears_late_under_an_old_day_and_time_is_found(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    bucket.put(key("new", days=5), [event(1)], hours=99)
    run_all(instance, tick(instance))
    bucket.put(key("late"), [event(2)], hours=-1)

    result = tick(instance)
    run_all(instance, result)

    assert asked(result) == [str(DAY)]
    assert asked(tick(instance)) == []


@pytest.mark.fault("D1", control=True)
def test_behind_a_watermark_the_late_object_is_never_found_on_broken_build(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    with expect_failure(watermark_on_last_modified):
        test_an_object_that_appears_late_under_an_old_day_and_time_is_found(instance, bucket)


@pytest.mark.fault("D2")
def test_an_overwritten_object_is_asked_for_again(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    first = tick(instance)
    run_all(instance, first)
    bucket.put(key("a"), [event(1), event(2)], hours=1)

    second = tick(instance)

    assert asked(second) == [str(DAY)]
    assert (first.run_requests or [])[0].run_key != (second.run_requests or [])[0].run_key


@pytest.mark.fault("D2", control=True)
def test_by_its_key_alone_the_new_version_is_skipped_on_broken_build(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    with expect_failure(key_alone):
        test_an_overwritten_object_is_asked_for_again(instance, bucket)


@pytest.mark.fault("R3")
def test_a_run_that_failed_is_asked_for_again_under_another_key(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '001'"))
    first = tick(instance)
    (request,) = first.run_requests or []

    assert not run(instance, request).success
    second = tick(instance)

    assert asked(second) == [str(DAY)]
    assert (second.run_requests or [])[0].run_key != request.run_key


@pytest.mark.fault("X1")
def test_runs_for_the_same_content_are_bounded(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '001'"))
    requests = 0
    for _ in range(10):
        result = tick(instance)
        requests += len(asked(result))
        run_all(instance, result)

    assert requests == sensors.MAX_RUNS_PER_BATCH
    assert skip_message(result) == "1 days are due: 0 have a run under way, 1 failed too often"


@pytest.mark.fault("W7")
def test_what_failed_too_often_is_tried_again_by_itself_a_day_later(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '001'"))
    for _ in range(sensors.MAX_RUNS_PER_BATCH):
        run_all(instance, tick(instance))
    assert asked(tick(instance)) == []
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE twap_alembic_version SET version_num = '{head()}'"))

    monkeypatch.setattr(sensors, "RETRY_WINDOW", timedelta(0))
    later = tick(instance)
    run_all(instance, later)

    assert str((later.run_requests or [])[0].run_key).endswith(f":{sensors.MAX_RUNS_PER_BATCH + 1}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 1


def head() -> str:
    return str(ScriptDirectory.from_config(migrations_config()).get_current_head())


@pytest.mark.fault("X1")
def test_a_poisoned_object_is_read_a_bounded_number_of_times(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"poison")
    runs = 0
    for _ in range(10):
        result = tick(instance)
        runs += len(asked(result))
        run_all(instance, result)

    assert runs == 3
    assert skip_message(result) == "every object listed is loaded, or parked"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 3


@pytest.mark.fault("X1", control=True)
def test_without_a_cap_runs_and_reads_go_on_on_broken_build(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    with expect_failure(retries_without_a_cap):
        test_a_poisoned_object_is_read_a_bounded_number_of_times(instance, bucket, engine)


def test_nothing_is_asked_while_a_run_for_the_same_content_is_under_way(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    bucket.put(key("a"), [event(1)])
    (request,) = tick(instance).run_requests or []
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    tags = {**request.tags, PARTITION_NAME_TAG: str(DAY)}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    assert skip_message(tick(instance)) == "1 days are due: 1 have a run under way, 0 failed too often"


@pytest.mark.fault("D6")
def test_requests_and_keys_are_bounded_and_nothing_is_lost(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "REQUESTS_PER_TICK", 2)
    monkeypatch.setattr(sensors, "KEYS_PER_TICK", 5)
    for days in range(6):
        for name in "abc":
            bucket.put(key(name, days=days), [event(days)])
    days_asked, cursor = [], ""
    for _ in range(12):
        result = tick(instance, cursor)
        run_all(instance, result)
        assert len(asked(result)) <= 2
        days_asked += asked(result)
        cursor = result.cursor or ""

    assert sorted(set(days_asked)) == [str(DAY + timedelta(days=days)) for days in range(6)]
    assert len(days_asked) == 6


@pytest.fixture
def long_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 bucket whose listing a test makes up."""
    s3.client().create_bucket(Bucket="twap")
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.requests.clear()
    return s3


def keys_of_days(days: int, keys_per_day: int) -> list[str]:
    dates = (DAY + timedelta(days=number) for number in range(days))
    return [f"raw/{day:%Y/%m/%d}/{number:04}.parquet" for day in dates for number in range(keys_per_day)]


@pytest.mark.fault("D5")
def test_a_listing_that_breaks_off_fails_the_tick(instance: dg.DagsterInstance, long_bucket: S3Server) -> None:
    def second_page_fails(request: Request, response: Response) -> Response:
        broken = "continuation-token" in request.args
        return Response("<Error><Code>SlowDown</Code></Error>", 503) if broken else response

    long_bucket.faults += [made_up_listing(keys_of_days(1, 1_001)), second_page_fails]

    with pytest.raises(SourceUnavailableError, match="503 SlowDown"):
        tick(instance)


def test_a_tick_costs_a_list_request_per_thousand_keys_and_no_get(
    instance: dg.DagsterInstance, long_bucket: S3Server
) -> None:
    long_bucket.faults.append(made_up_listing(keys_of_days(1, 1_500)))

    tick(instance)

    assert dict(long_bucket.requests) == {"LIST": 2}


@pytest.mark.fault("D6")
def test_of_a_hundred_thousand_pending_objects_a_tick_takes_a_bounded_part_and_the_next_goes_on(
    instance: dg.DagsterInstance, long_bucket: S3Server
) -> None:
    long_bucket.faults.append(made_up_listing(keys_of_days(400, 250)))
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    days_asked: list[str] = []
    cursor, rss_before = "", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        long_bucket.requests.clear()
        started = time.monotonic()
        result = tick(instance, cursor)
        assert time.monotonic() - started < sensors.SECONDS_PER_TICK + 10
        assert len(asked(result)) == sensors.REQUESTS_PER_TICK
        assert long_bucket.requests["LIST"] <= sensors.KEYS_PER_TICK / 1_000 + 1 + sensors.RECENT_DAYS
        assert long_bucket.requests["GET"] == 0
        for request in result.run_requests or []:
            tags = {**request.tags, PARTITION_NAME_TAG: request.partition_key or ""}
            instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        days_asked += asked(result)
        cursor = result.cursor or ""

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before
    assert grown * (1 if sys.platform == "darwin" else 1_024) < 150_000_000
    assert days_asked == [str(DAY + timedelta(days=number)) for number in range(2 * sensors.REQUESTS_PER_TICK)]


def test_the_days_of_the_source_are_recorded_when_they_change(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    tick(instance)
    tick(instance)

    records = instance.fetch_materializations(SOURCE_KEY, limit=10).records
    assert [record.partition_key for record in records] == [str(DAY)]


def test_the_schedule_asks_for_yesterday_in_utc() -> None:
    from datetime import UTC, datetime

    definitions = build_definitions(load_settings())
    schedule = definitions.resolve_schedule_def("daily_ingest")
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2025, 11, 2, 0, 30, tzinfo=UTC),
        repository_def=definitions.get_repository_def(),
    )

    (request,) = schedule.evaluate_tick(context).run_requests or []

    assert request.partition_key == "2025-11-01"
    assert schedule.cron_schedule == "30 0 * * *"
    assert schedule.execution_timezone == "UTC"


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_orders")).scalar_one())


def test_orders_that_a_failed_run_did_not_get_to_are_asked_for_by_the_ledger(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("good"), [event(1)])
    (bucket.directory / key("bad")).write_bytes(b"poison")
    run_all(instance, tick(instance))
    assert (orders(engine), skip_message(tick(instance, name="stale_twap_orders"))) == (0, "")

    (request,) = tick(instance, name="stale_twap_orders").run_requests or []
    assert run(instance, request, "refresh_twap_orders").success

    assert orders(engine) == 1
    assert skip_message(tick(instance, name="stale_twap_orders")) == "twap_orders are what twap_status says"


def test_no_refresh_is_asked_for_while_an_ingestion_is_under_way(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    run_all(instance, tick(instance))
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL"))
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    under_way = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    waiting = skip_message(tick(instance, name="stale_twap_orders"))
    instance.report_run_failed(under_way)

    assert waiting == "an ingestion is under way, which refreshes its orders in the end"
    assert ranges(tick(instance, name="stale_twap_orders")) == [(str(DAY), str(DAY))]


def test_days_of_orders_that_lag_behind_are_taken_many_to_a_run(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    for days in range(40):
        bucket.put(key("a", days=days), [event(days)])
    store = LocalDirectory(bucket.directory)
    for ref in store.list_objects():
        ingest_object(store, engine, ref, partition_date(ref))

    result = tick(instance, name="stale_twap_orders")
    for request in result.run_requests or []:
        assert run(instance, request, "refresh_twap_orders").success

    end = DAY + timedelta(days=39)
    assert ranges(result) == [(str(DAY), str(DAY + timedelta(days=30))), (str(DAY + timedelta(days=31)), str(end))]
    assert orders(engine) == 40


def test_an_object_that_an_audit_requeued_is_asked_for_however_often(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    run_all(instance, tick(instance))

    for _ in range(sensors.MAX_RUNS_PER_BATCH + 1):
        with engine.begin() as connection:
            requeue(connection, [key("a")], "by the test")
        asked_again = tick(instance)
        run_all(instance, asked_again)
        assert asked(asked_again) == [str(DAY)]
        assert skip_message(tick(instance)) == "every object listed is loaded, or parked"
