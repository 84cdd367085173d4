"""One bad object: only its partition fails, and sensors repair partitions, orders and checks without a click.

Runs are executed in process, with the selection and the tags of a backfill that is launched in the web UI.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import Engine

from twap_pipeline.defs.asset_checks import SOURCE_CHECKS
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import BACKFILL_ID_TAG, failed_partitions, stale_checks
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB, INGEST_FILLS_JOB, INGEST_JOB, REFRESH_JOB
from twap_pipeline.defs.partitions import daily_partitions, range_tags
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import requested_partitions, run, tick
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame

CATALOG = AssetCatalog()
STATUS_ASSETS = (CATALOG.status_key, CATALOG.orders_key, CATALOG.daily_stats_key)
DAYS = [DAY, DAY + timedelta(days=1)]
CURRENT = dg.SkipReason("every check has a result for the latest materialization")


@dataclass(frozen=True)
class DataSetCase:
    """A data set, and what its repair uses.

    Args:
        assets: The assets that a user selects in the web UI; the first one is that of the table.
        key: Key of an object, with the fields ``day`` and ``name``.
        frame: Returns the rows of an object that differs by the number.
        sensor: The sensor of its objects.
        job: The job that this sensor starts.
        source_check: The check that reports the bad object.
        violated: Checks that fail because the other data set has no objects.
    """

    assets: tuple[dg.AssetKey, ...]
    key: str
    frame: Callable[[int], pl.DataFrame]
    sensor: str
    job: str
    source_check: str
    violated: frozenset[str] = frozenset()


STATUSES = DataSetCase(
    assets=STATUS_ASSETS,
    key="hourly/{day:%Y/%m/%d}/12/{name}.parquet",
    frame=lambda number: pl.DataFrame([event(number)]),
    sensor="new_twap_objects",
    job=INGEST_JOB,
    source_check="ingest_log_matches_source",
)
FILLS = DataSetCase(
    assets=(CATALOG.key("twap_fills"),),
    key="by_dex/xyz/fills/perp/twap_fills/date={day}/{name}.parquet",
    frame=lambda number: fill_frame(fill(number)),
    sensor="new_twap_fills",
    job=INGEST_FILLS_JOB,
    source_check="fills_log_matches_source",
    violated=frozenset({"fills_reconcile_with_orders"}),
)


def materialize(
    instance: dg.DagsterInstance, tags: Mapping[str, str], assets: tuple[dg.AssetKey, ...] = STATUS_ASSETS
) -> dg.ExecuteInProcessResult:
    """Materialize assets as the web UI does."""
    job = load_definitions().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=list(assets), tags=tags, raise_on_error=False)


def run_job(instance: dg.DagsterInstance, name: str, tags: Mapping[str, str]) -> bool:
    """Execute a job and return whether it succeeded."""
    job = load_definitions().resolve_job_def(name)
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success


def run_sensors(instance: dg.DagsterInstance) -> None:
    """Tick the sensors that are running by default, and execute the runs that they request."""
    for sensor_name, job_name in (("stale_twap_orders", REFRESH_JOB), ("stale_asset_checks", CHECK_JOB)):
        for request in tick(instance, name=sensor_name).run_requests or []:
            assert run_job(instance, job_name, request.tags)


def failed_days(instance: dg.DagsterInstance, assets: tuple[dg.AssetKey, ...]) -> list[list[str]]:
    """Return the failed partitions of each asset."""
    return [failed_partitions(instance, asset, daily_partitions(DAYS[0], DAYS[-1])) for asset in assets]


def check_statuses(instance: dg.DagsterInstance, assets: tuple[dg.AssetKey, ...]) -> dict[str, str]:
    """Return the status of the last execution of each check; PLANNED means that the check was not evaluated."""
    keys = [key for check in load_definitions().asset_checks or [] for key in check.check_keys]
    executions = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key.name: executions[key].status.value for key in keys if key.asset_key in assets}


def requested_checks(instance: dg.DagsterInstance) -> set[str]:
    """Return the names of the checks that the sensor requests."""
    (request,) = tick(instance, name="stale_asset_checks").run_requests or []
    return {key.name for key in request.asset_check_keys or []}


@pytest.mark.parametrize("case", [STATUSES, FILLS], ids=["statuses", "fills"])
def test_bad_object_fails_one_partition_until_repaired(
    instance: dg.DagsterInstance, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: DataSetCase
) -> None:
    (tmp_path / "fills").mkdir()
    monkeypatch.setenv("TWAP_FILLS_URL", f"{(tmp_path / 'fills').as_uri()}/")
    bucket = Bucket(tmp_path / ("bucket" if case is STATUSES else "fills"))
    for number, day in enumerate(DAYS):
        bucket.put_frame(case.key.format(day=day, name="good"), case.frame(number))
    backfill = {**range_tags(DAYS[0], DAYS[-1]), BACKFILL_ID_TAG: "abcdefgh"}
    assert materialize(instance, backfill, case.assets).success
    bad_key, bad_day = case.key.format(day=DAYS[1], name="bad"), str(DAYS[1])
    (bucket.directory / bad_key).write_bytes(b"not parquet")

    assert not materialize(instance, backfill, case.assets).success
    assert failed_days(instance, case.assets[:1]) == [[bad_day]]
    assert all(len(days) == len(DAYS) for days in failed_days(instance, case.assets[1:])), "one step refreshes all days"
    assert {*check_statuses(instance, case.assets).values()} == {"PLANNED"}, "the web UI shows: Execution failed"

    run_sensors(instance)
    others: list[list[str]] = [[]] * (len(case.assets) - 1)
    assert failed_days(instance, case.assets) == [[bad_day], *others]
    statuses = check_statuses(instance, case.assets)
    failed = {name for name, status in statuses.items() if status != "SUCCEEDED"}
    assert failed == {case.source_check} | case.violated
    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT
    assert tick(instance, name="stale_twap_orders").skip_reason == dg.SkipReason("orders are up to date")

    (retry,) = tick(instance, name=case.sensor).run_requests or []
    assert retry.partition_key == bad_day

    bucket.put_frame(bad_key, case.frame(9), hours=2)
    (repair,) = tick(instance, name=case.sensor).run_requests or []
    assert repair.partition_key == bad_day
    assert run(instance, repair, case.job).success
    assert case.source_check in requested_checks(instance), "a failed comparison is repeated after each load"
    run_sensors(instance)
    assert requested_partitions(tick(instance, name=case.sensor)) == []
    assert failed_days(instance, case.assets) == [[], *others]
    statuses = check_statuses(instance, case.assets)
    assert {name for name, status in statuses.items() if status != "SUCCEEDED"} == case.violated
    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT


def test_check_run_waits_for_runs_in_progress(instance: dg.DagsterInstance) -> None:
    skip_reasons = []
    for name in (INGEST_JOB, INGEST_FILLS_JOB, CHECK_JOB, FULL_CHECK_JOB):
        run = instance.add_run(dg.DagsterRun(job_name=name, status=dg.DagsterRunStatus.STARTED))
        skip_reasons.append(tick(instance, name="stale_asset_checks").skip_reason)
        instance.delete_run(run.run_id)

    assert skip_reasons == [dg.SkipReason("a run of assets or checks is in progress")] * 4


def test_failed_check_run_is_not_requested_again(instance: dg.DagsterInstance) -> None:
    """A run key never starts a second run. A new run of an asset changes it."""
    instance.report_runless_asset_event(dg.AssetMaterialization(CATALOG.status_key, partition=str(DAY)))
    (first,) = tick(instance, name="stale_asset_checks").run_requests or []
    instance.add_run(dg.DagsterRun(job_name=CHECK_JOB, status=dg.DagsterRunStatus.FAILURE))

    (second,) = tick(instance, name="stale_asset_checks").run_requests or []
    instance.add_run(dg.DagsterRun(job_name=INGEST_JOB, status=dg.DagsterRunStatus.SUCCESS))
    (third,) = tick(instance, name="stale_asset_checks").run_requests or []

    assert first.run_key == second.run_key != third.run_key


def test_only_checks_of_newer_materializations_are_requested(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    """A single partition that is materialized in the web UI is not a backfill: its run evaluates the checks."""
    bucket.put_frame(STATUSES.key.format(day=DAY, name="a"), STATUSES.frame(1))
    assert materialize(instance, range_tags(DAY, DAY)).success
    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT

    assert run_job(instance, REFRESH_JOB, range_tags(DAY, DAY))
    assert requested_checks(instance) == {"orders_match_events"}

    assert run_job(instance, INGEST_JOB, range_tags(DAY, DAY))
    source_check = dg.AssetCheckKey(CATALOG.status_key, SOURCE_CHECKS[0])
    assert "no_parked_objects" in requested_checks(instance)
    assert source_check.name not in requested_checks(instance), "it passed within a day"
    assert stale_checks(instance, [source_check], {source_check: timedelta(0)}) == [source_check]


def test_checks_of_empty_instance_are_not_requested(instance: dg.DagsterInstance) -> None:
    assert tick(instance, name="stale_asset_checks").skip_reason == CURRENT


@pytest.mark.parametrize("name", ["stale_twap_orders", "stale_asset_checks"])
def test_sensors_that_repair_are_running_by_default(name: str) -> None:
    sensor = load_definitions().resolve_sensor_def(name)

    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("asset", STATUS_ASSETS, ids=str)
def test_assets_have_a_freshness_policy(asset: dg.AssetKey) -> None:
    node = load_definitions().get_repository_def().asset_graph.get(asset)

    assert node.freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=48), warn_window=timedelta(hours=30)
    )
