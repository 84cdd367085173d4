"""Dagster code location: `build_definitions` assembles all definitions for production, commands and tests.

Importing this module needs no network, database or credentials, and imports neither polars nor pyarrow nor psycopg.
"""

import warnings
from collections.abc import Mapping

import dagster as dg

from twap_pipeline.defs.alerts import build_alerts_sensor
from twap_pipeline.defs.asset_checks import build_asset_checks, checked_tables
from twap_pipeline.defs.assets import build_table_asset
from twap_pipeline.defs.data_sets import data_set_definitions
from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition
from twap_pipeline.defs.jobs import build_check_job, build_full_check_job, build_ingest_job, build_refresh_job
from twap_pipeline.defs.lost_runs import lost_runs
from twap_pipeline.defs.maintenance_jobs import build_maintenance_jobs
from twap_pipeline.defs.orders import build_daily_stats_asset, build_orders_asset
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.defs.schedules import build_check_schedules, build_ingest_schedule
from twap_pipeline.defs.sensors import build_checks_sensor, build_new_objects_sensor, build_orders_sensor
from twap_pipeline.defs.source_assets import build_source_asset
from twap_pipeline.logs import configure_logging
from twap_pipeline.settings import Settings, load_settings


def build_definitions(
    settings: Settings,
    resources: Mapping[str, object] | None = None,
    *,
    start_sensor: bool = False,
    start_schedules: bool = False,
) -> dg.Definitions:
    """Return the definitions that the settings shape: asset keys, partitions, intervals.

    Args:
        settings: The settings.
        resources: By default `build_resources()`, which reads addresses and secrets when a run or a tick starts.
        start_sensor: Whether ``new_twap_objects`` and ``new_twap_fills`` are running until somebody stops them.
        start_schedules: Whether the schedules are running until somebody stops them in the UI.
    """
    data_sets = data_set_definitions(settings)
    catalog, partitions = data_sets[0].catalog, data_sets[0].partitions
    max_partitions_per_run = settings.max_partitions_per_run
    sensor_status = dg.DefaultSensorStatus.RUNNING if start_sensor else dg.DefaultSensorStatus.STOPPED
    schedule_status = dg.DefaultScheduleStatus.RUNNING if start_schedules else dg.DefaultScheduleStatus.STOPPED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # observable_source_asset and backfill_policy are in beta
        assets: list[dg.AssetsDefinition | dg.SourceAsset] = [
            *map(build_source_asset, data_sets),
            *(build_table_asset(definition, max_partitions_per_run) for definition in data_sets),
            build_orders_asset(catalog, partitions, max_partitions_per_run),
            build_daily_stats_asset(catalog, partitions, max_partitions_per_run),
        ]
    checks = build_asset_checks(catalog, data_sets)
    check_keys = [key for definition in checks for key in definition.check_keys]
    checked = checked_tables(catalog, data_sets)
    other_jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
        build_refresh_job(catalog),
        build_check_job(checked),
        build_full_check_job(checked),
        *build_maintenance_jobs(data_sets),
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[*map(build_ingest_job, data_sets), *other_jobs],
        sensors=[
            *(
                build_new_objects_sensor(definition, settings.sensor_interval_seconds, sensor_status)
                for definition in data_sets
            ),
            build_orders_sensor(catalog, partitions, max_partitions_per_run),
            build_checks_sensor(check_keys),
            lost_runs,
            build_alerts_sensor(catalog, data_sets, check_keys, [job.name for job in other_jobs]),
        ],
        schedules=[
            *(build_ingest_schedule(definition, schedule_status) for definition in data_sets),
            *build_check_schedules(schedule_status),
        ],
        resources=resources if resources is not None else build_resources(),
        executor=dg.in_process_executor,
    )


def _load_code_location() -> dg.Definitions:
    """Configure the logging of this process, to standard error, and return the definitions for the environment."""
    settings = load_settings()
    configure_logging(settings.log_level or "INFO", settings.log_format or "text")
    return build_definitions(settings)


defs = _load_code_location()
