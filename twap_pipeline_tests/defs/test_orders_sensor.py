"""The sensor ``stale_twap_orders``."""

from datetime import timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import (
    add_failed_run,
    key,
    requested_ranges,
    run,
    run_all,
    skip_message,
    tick,
)
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything


def count_orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_orders")).scalar_one())


def test_orders_of_failed_run_are_refreshed(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("good"), [event(1)])
    (bucket.directory / key("bad")).write_bytes(b"not parquet")
    run_all(instance, tick(instance))
    assert (count_orders(engine), skip_message(tick(instance, name="stale_twap_orders"))) == (0, "")

    (request,) = tick(instance, name="stale_twap_orders").run_requests or []
    assert run(instance, request, "refresh_twap_orders").success

    assert count_orders(engine) == 1
    assert skip_message(tick(instance, name="stale_twap_orders")) == "orders are up to date"


@pytest.mark.parametrize("job_name", ["ingest_twap_status", "__ASSET_JOB"])
def test_refresh_waits_for_ingest_run_in_progress(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, job_name: str
) -> None:
    bucket.put(key("a"), [event(1)])
    run_all(instance, tick(instance))
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL"))
    job = load_definitions().get_repository_def().get_job(job_name)
    ingest_run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    message = skip_message(tick(instance, name="stale_twap_orders"))
    instance.report_run_failed(ingest_run)

    assert message == "an ingest run is in progress; it refreshes its orders at the end"
    assert requested_ranges(tick(instance, name="stale_twap_orders")) == [(str(DAY), str(DAY))]


def test_refresh_without_new_run_does_not_open_the_database(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    run_all(instance, tick(instance))
    current = tick(instance, name="stale_twap_orders")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nowhere")

    result = tick(instance, current.cursor or "", name="stale_twap_orders")

    assert skip_message(current) == "orders are up to date"
    assert skip_message(result) == "no new run since orders were up to date"


def test_stale_partitions_are_grouped_into_ranges(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWAP_MAX_PARTITIONS_PER_RUN", "3")
    for days in range(4):
        bucket.put(key("a", days=days), [event(days)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    add_failed_run(instance)

    result = tick(instance, name="stale_twap_orders")
    for request in result.run_requests or []:
        assert run(instance, request, "refresh_twap_orders").success

    first, _, third, last = (str(DAY + timedelta(days=number)) for number in range(4))
    assert requested_ranges(result) == [(first, third), (last, last)]
    assert count_orders(engine) == 4
