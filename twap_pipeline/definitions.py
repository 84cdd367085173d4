"""Dagster code location: `build_definitions` assembles all definitions for production, commands and tests.

Importing this module needs no network, database or credentials, and imports neither polars nor pyarrow nor psycopg.
"""

import warnings
from collections.abc import Mapping

import dagster as dg

from twap_pipeline.defs.alerts import build_alerts_sensor
from twap_pipeline.defs.asset_checks import build_asset_checks
from twap_pipeline.defs.assets import ByteBudget, build_source_asset, build_status_asset
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition
from twap_pipeline.defs.jobs import (
    INGEST_JOB,
    build_check_job,
    build_full_check_job,
    build_ingest_job,
    build_refresh_job,
)
from twap_pipeline.defs.lost_runs import lost_runs
from twap_pipeline.defs.maintenance_jobs import build_maintenance_jobs
from twap_pipeline.defs.orders import build_daily_stats_asset, build_orders_asset
from twap_pipeline.defs.partitions import daily_partitions
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.defs.schedules import build_check_schedule, build_full_check_schedule, build_ingest_schedule
from twap_pipeline.defs.sensors import build_checks_sensor, build_new_objects_sensor, build_orders_sensor
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.logs import configure_logging
from twap_pipeline.settings import Settings, load_settings


def build_definitions(
    settings: Settings,
    resources: Mapping[str, object] | None = None,
    *,
    start_sensor: bool = False,
    start_schedules: bool = False,
) -> dg.Definitions:
    """Return the definitions.

    Args:
        settings: Values that shape the definitions: asset keys, partitions, limits, intervals.
        resources: The resources by name; by default `build_resources()`, which reads addresses and secrets from the
            environment when a run or a tick starts.
        start_sensor: Whether ``new_twap_objects`` is running until somebody stops it in the UI.
        start_schedules: Whether the schedules are running until somebody stops them in the UI.
    """
    catalog = AssetCatalog.from_settings(settings)
    partitions = daily_partitions(settings.start_date, settings.end_date)
    key_date_patterns = resolve_key_date_patterns(settings.key_date_pattern)
    max_partitions_per_run = settings.max_partitions_per_run
    budget = ByteBudget(settings.max_bytes_per_run, settings.max_bytes_per_day)
    ingest, refresh, check = build_ingest_job(catalog), build_refresh_job(catalog), build_check_job(catalog)
    full_check = build_full_check_job(catalog)
    schedule_status = dg.DefaultScheduleStatus.RUNNING if start_schedules else dg.DefaultScheduleStatus.STOPPED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # observable_source_asset and backfill_policy are in beta
        assets: list[dg.AssetsDefinition | dg.SourceAsset] = [
            build_source_asset(catalog, partitions, key_date_patterns),
            build_status_asset(
                catalog,
                partitions,
                key_date_patterns,
                max_partitions_per_run=max_partitions_per_run,
                write_concurrency=settings.write_concurrency,
                max_memory_bytes=settings.max_memory_mb * 1_000_000,
                budget=budget,
            ),
            build_orders_asset(catalog, partitions, max_partitions_per_run),
            build_daily_stats_asset(catalog, partitions, max_partitions_per_run),
        ]
    checks = build_asset_checks(catalog, settings.start_date, key_date_patterns)
    check_keys = [key for definition in checks for key in definition.check_keys]
    jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
        ingest,
        refresh,
        check,
        full_check,
        *build_maintenance_jobs(catalog, partitions, key_date_patterns, start_date=settings.start_date, budget=budget),
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=jobs,
        sensors=[
            build_new_objects_sensor(
                ingest,
                catalog,
                partitions,
                key_date_patterns,
                interval_seconds=settings.sensor_interval_seconds,
                budget=budget,
                default_status=dg.DefaultSensorStatus.RUNNING if start_sensor else dg.DefaultSensorStatus.STOPPED,
            ),
            build_orders_sensor(refresh, catalog, partitions, max_partitions_per_run),
            build_checks_sensor(check, check_keys),
            lost_runs,
            build_alerts_sensor(catalog, partitions, check_keys, [job.name for job in jobs if job.name != INGEST_JOB]),
        ],
        schedules=[
            build_ingest_schedule(ingest, partitions, schedule_status),
            build_check_schedule(check, schedule_status),
            build_full_check_schedule(full_check, schedule_status),
        ],
        resources=resources if resources is not None else build_resources(),
        executor=dg.in_process_executor,
    )


def _load_code_location() -> dg.Definitions:
    """Return the definitions for the environment; the loggers of this process log on standard error from now on."""
    settings = load_settings()
    configure_logging(settings.log_level or "INFO", settings.log_format or "text")
    return build_definitions(settings)


defs = _load_code_location()
