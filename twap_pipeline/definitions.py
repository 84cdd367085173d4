"""The code location: assembles every definition. `build_definitions` serves production, the command and the tests.

Loading it needs no network, database or credentials.
"""

import warnings
from collections.abc import Mapping

import dagster as dg
from dagster_aws.s3 import S3Resource

from twap_pipeline.defs.alerts import failed_run_alert
from twap_pipeline.defs.asset_checks import build_asset_checks
from twap_pipeline.defs.assets import build_source_asset, build_status_asset
from twap_pipeline.defs.jobs import build_check_job, build_ingest_job, build_refresh_job
from twap_pipeline.defs.maintenance_jobs import OPERATIONS
from twap_pipeline.defs.orders import build_daily_stats_asset, build_orders_asset
from twap_pipeline.defs.partitions import daily_partitions
from twap_pipeline.defs.resources import S3_MAX_ATTEMPTS, DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.defs.schedules import build_check_schedule, build_yesterday_schedule
from twap_pipeline.defs.sensors import build_new_objects_sensor, build_orders_sensor
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.settings import Settings, load_settings


def build_definitions(settings: Settings, resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return the definitions for these settings.

    Args:
        settings: Only what shapes the definitions is read here; addresses and secrets are read when a run starts.
        resources: Replace some of the resources.
    """
    partitions = daily_partitions(settings.start_date)
    key_date_patterns = resolve_key_date_patterns(settings.key_date_pattern)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # observable_source_asset and backfill_policy, on purpose
        source = build_source_asset(partitions, key_date_patterns)
        status = build_status_asset(partitions, key_date_patterns, settings.max_partitions_per_run)
        orders = build_orders_asset(partitions, settings.max_partitions_per_run)
        daily_stats = build_daily_stats_asset(partitions, settings.max_partitions_per_run)
    ingest, refresh, check = build_ingest_job(), build_refresh_job(), build_check_job()
    return dg.Definitions(
        assets=[source, status, orders, daily_stats],
        asset_checks=build_asset_checks(),
        jobs=[ingest, refresh, check, *OPERATIONS],
        sensors=[
            build_new_objects_sensor(ingest, partitions, key_date_patterns, settings.sensor_interval_seconds),
            build_orders_sensor(refresh, partitions, settings.max_partitions_per_run),
            failed_run_alert,
        ],
        schedules=[build_yesterday_schedule(ingest), build_check_schedule(check)],
        resources={
            "database": DatabaseResource(),
            "object_store": ObjectStoreResource(s3=S3Resource(max_attempts=S3_MAX_ATTEMPTS)),
            "schema_guard": SchemaGuard(),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_definitions(load_settings())
