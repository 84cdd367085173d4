"""One bad object: only its partition fails, and sensors bring orders and checks up to date without a click.

Runs are executed in process, with the selection and the tags of a backfill that is launched in the web UI.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.asset_checks import SOURCE_CHECKS
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import BACKFILL_ID_TAG, stale_checks
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB, INGEST_JOB, REFRESH_JOB
from twap_pipeline.defs.partitions import daily_partitions, range_tags
from twap_pipeline.settings import load_settings
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import tick
from twap_pipeline_tests.factories import DAY, Bucket, event

CATALOG = AssetCatalog()
ASSETS = [CATALOG.status_key, CATALOG.orders_key, CATALOG.daily_stats_key]
DAYS = [DAY + timedelta(days=number) for number in range(3)]
CURRENT = dg.SkipReason("every check has a result for the latest materialization")


@pytest.fixture
def failed_backfill(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> dg.DagsterInstance:
    """An instance after two backfills of three days; before the second one, a bad object is added to a day."""
    for number, day in enumerate(DAYS):
        bucket.put(object_key(day, "good"), [event(number)])
    assert backfill(instance, DAYS[0], DAYS[2]).success
    (bucket.directory / object_key(DAYS[1], "bad")).write_bytes(b"not parquet")
    assert not backfill(instance, DAYS[0], DAYS[2]).success
    return instance


def object_key(day: date, name: str) -> str:
    return f"hourly/{day:%Y/%m/%d}/12/{name}.parquet"


def backfill(instance: dg.DagsterInstance, first: date, last: date) -> dg.ExecuteInProcessResult:
    return materialize(instance, {**range_tags(first, last), BACKFILL_ID_TAG: "abcdefgh"})


def materialize(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> dg.ExecuteInProcessResult:
    job = load_definitions().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=ASSETS, tags=tags, raise_on_error=False)


def run_sensors(instance: dg.DagsterInstance) -> None:
    """Tick the sensors that are running by default, and execute the runs that they request."""
    for sensor_name, job_name in (("stale_twap_orders", REFRESH_JOB), ("stale_asset_checks", CHECK_JOB)):
        job = build_definitions(load_settings()).resolve_job_def(job_name)
        for request in tick(instance, name=sensor_name).run_requests or []:
            assert job.execute_in_process(instance=instance, tags=dict(request.tags)).success


def failed_partitions(instance: dg.DagsterInstance, asset: dg.AssetKey) -> list[str]:
    partitions = daily_partitions(load_settings().start_date)
    statuses = instance.get_status_by_partition(asset, [str(day) for day in DAYS], partitions) or {}
    assert all(status is not None for status in statuses.values())
    return [day for day, status in statuses.items() if status is not None and status.value == "FAILED"]


def check_statuses(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the status of the last execution of each check; PLANNED means that the check was not evaluated."""
    checks = build_definitions(load_settings()).asset_checks or []
    keys = [key for check in checks for key in check.check_keys]
    executions = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key.name: executions[key].status.value for key in keys}


def checks_that_did_not_succeed(instance: dg.DagsterInstance) -> list[str]:
    return [name for name, status in check_statuses(instance).items() if status != "SUCCEEDED"]


def test_bad_object_fails_one_partition_until_repaired(failed_backfill: dg.DagsterInstance, bucket: Bucket) -> None:
    assert len(failed_partitions(failed_backfill, CATALOG.orders_key)) == len(DAYS), "one step refreshes all of them"
    assert {*check_statuses(failed_backfill).values()} == {"PLANNED"}, "the web UI shows: Execution failed"

    run_sensors(failed_backfill)

    assert [failed_partitions(failed_backfill, asset) for asset in ASSETS] == [[str(DAYS[1])], [], []]
    assert checks_that_did_not_succeed(failed_backfill) == ["ingest_log_matches_source"]
    assert tick(failed_backfill, name="stale_asset_checks").skip_reason == CURRENT
    assert tick(failed_backfill, name="stale_twap_orders").skip_reason == dg.SkipReason("orders are up to date")

    bucket.put(object_key(DAYS[1], "bad"), [event(9)], hours=2)
    assert backfill(failed_backfill, DAYS[1], DAYS[1]).success
    run_sensors(failed_backfill)

    assert [failed_partitions(failed_backfill, asset) for asset in ASSETS] == [[], [], []]
    assert checks_that_did_not_succeed(failed_backfill) == []
    assert tick(failed_backfill, name="stale_asset_checks").skip_reason == CURRENT


@pytest.mark.parametrize("name", [INGEST_JOB, CHECK_JOB, FULL_CHECK_JOB])
def test_check_run_waits_for_runs_in_progress(instance: dg.DagsterInstance, name: str) -> None:
    job = build_definitions(load_settings()).resolve_job_def(name)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    result = tick(instance, name="stale_asset_checks")

    assert result.skip_reason == dg.SkipReason("a run of assets or checks is in progress")


def test_failed_check_run_is_not_requested_again(failed_backfill: dg.DagsterInstance, engine: Engine) -> None:
    """A run key never starts a second run. A new run of an asset changes it."""
    (first,) = tick(failed_backfill, name="stale_asset_checks").run_requests or []
    job = build_definitions(load_settings()).resolve_job_def(CHECK_JOB)
    failed_backfill.report_run_failed(failed_backfill.create_run_for_job(job))

    (second,) = tick(failed_backfill, name="stale_asset_checks").run_requests or []
    backfill(failed_backfill, DAYS[0], DAYS[0])
    (third,) = tick(failed_backfill, name="stale_asset_checks").run_requests or []

    assert first.run_key == second.run_key != third.run_key


def test_checks_of_unchanged_asset_are_not_repeated(failed_backfill: dg.DagsterInstance) -> None:
    run_sensors(failed_backfill)
    job = build_definitions(load_settings()).resolve_job_def(REFRESH_JOB)
    assert job.execute_in_process(instance=failed_backfill, tags=range_tags(DAYS[0], DAYS[2])).success

    (request,) = tick(failed_backfill, name="stale_asset_checks").run_requests or []

    assert request.asset_check_keys == [dg.AssetCheckKey(CATALOG.orders_key, "orders_match_events")]


def requested_checks(instance: dg.DagsterInstance) -> set[str]:
    """Return the names of the checks that the sensor requests."""
    (request,) = tick(instance, name="stale_asset_checks").run_requests or []
    return {key.name for key in request.asset_check_keys or []}


def ingest(instance: dg.DagsterInstance) -> None:
    job = build_definitions(load_settings()).resolve_job_def(INGEST_JOB)
    job.execute_in_process(instance=instance, tags=range_tags(DAYS[0], DAYS[2]), raise_on_error=False)


def test_passed_source_check_is_requested_once_per_day(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    assert materialize(instance, range_tags(DAY, DAY)).success
    ingest(instance)
    source_check = dg.AssetCheckKey(CATALOG.status_key, SOURCE_CHECKS[0])

    assert SOURCE_CHECKS[0] not in requested_checks(instance)
    assert stale_checks(instance, [source_check], {source_check: timedelta(0)}) == [source_check]


def test_failed_source_check_is_requested_after_each_load(failed_backfill: dg.DagsterInstance) -> None:
    run_sensors(failed_backfill)
    assert checks_that_did_not_succeed(failed_backfill) == ["ingest_log_matches_source"]

    ingest(failed_backfill)

    assert "ingest_log_matches_source" in requested_checks(failed_backfill)


def test_run_with_evaluated_checks_is_not_followed_by_another(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    """A single partition that is materialized in the web UI is not a backfill."""
    bucket.put(object_key(DAY, "a"), [event(1)])

    assert materialize(instance, range_tags(DAY, DAY)).success

    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT


def test_checks_of_empty_instance_are_not_requested(instance: dg.DagsterInstance) -> None:
    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT


@pytest.mark.parametrize("name", ["stale_twap_orders", "stale_asset_checks"])
def test_sensors_that_repair_are_running_by_default(name: str) -> None:
    sensor = build_definitions(load_settings()).resolve_sensor_def(name)

    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("asset", ASSETS, ids=str)
def test_assets_have_a_freshness_policy(asset: dg.AssetKey) -> None:
    node = build_definitions(load_settings()).get_repository_def().asset_graph.get(asset)

    assert node.freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=48), warn_window=timedelta(hours=30)
    )
