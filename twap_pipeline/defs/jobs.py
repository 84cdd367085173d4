"""Asset jobs: the named selections of assets that schedules, sensors, commands and people run.

Jobs that consist of ops belong to `maintenance_jobs`. A run of a job is one process, whatever the executor of the code
location is: a process per step costs seconds and saves nothing.
"""

from collections.abc import Sequence

import dagster as dg

from twap_pipeline.defs.asset_checks import DataCheckConfig, table_checks_op
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.data_sets import FILLS_NAMES, STATUS_NAMES, DataSetDefinition
from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition

INGEST_JOB = STATUS_NAMES.ingest_job
INGEST_FILLS_JOB = FILLS_NAMES.ingest_job
REFRESH_JOB = "refresh_twap_orders"
CHECK_JOB = "check_twap_status"
FULL_CHECK_JOB = "full_data_checks"


def build_ingest_job(catalog: AssetCatalog) -> UnresolvedAssetJobDefinition:
    """Return the job that materializes ``twap_status`` and its downstream assets."""
    return dg.define_asset_job(
        INGEST_JOB,
        executor_def=dg.in_process_executor,
        selection=dg.AssetSelection.assets(
            catalog.status_key, catalog.orders_key, catalog.daily_stats_key
        ).without_checks(),
        description="Loads the new objects of the selected days into twap_status, then refreshes twap_orders and"
        " twap_daily_stats. Objects that are loaded are not read again.",
    )


def build_fills_ingest_job(fills: DataSetDefinition) -> UnresolvedAssetJobDefinition:
    """Return the job that materializes ``twap_fills``."""
    return dg.define_asset_job(
        INGEST_FILLS_JOB,
        executor_def=dg.in_process_executor,
        selection=dg.AssetSelection.assets(fills.table_key).without_checks(),
        description="Loads the new objects of the selected days into twap_fills. Objects that are loaded are not read"
        " again.",
    )


def build_refresh_job(catalog: AssetCatalog) -> UnresolvedAssetJobDefinition:
    """Return the job that refreshes the orders from ``twap_status``."""
    return dg.define_asset_job(
        REFRESH_JOB,
        executor_def=dg.in_process_executor,
        selection=dg.AssetSelection.assets(catalog.orders_key, catalog.daily_stats_key).without_checks(),
        description="Refreshes the orders of the selected days that have events loaded since the last refresh; with"
        " recompute: true in the configuration of twap_orders, all orders of these days. Reads no object.",
    )


def build_check_job(tables: Sequence[dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    """Return the job that runs the asset checks, separate from the jobs that load: many loads need one run of it.

    Args:
        tables: The assets with checks.
    """
    return dg.define_asset_job(
        CHECK_JOB,
        executor_def=dg.in_process_executor,
        selection=dg.AssetSelection.checks_for_assets(*tables),
        description="Runs every asset check of the tables: evaluates the days that changed, and lists the source.",
    )


def build_full_check_job(tables: Sequence[dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    """Return the job that runs the asset checks over every day, whatever their stored results are.

    Args:
        tables: The assets with checks.
    """
    ops = [table_checks_op(key.path[-1]) for key in tables]
    return dg.define_asset_job(
        FULL_CHECK_JOB,
        executor_def=dg.in_process_executor,
        selection=dg.AssetSelection.checks_for_assets(*tables),
        config={"ops": {op: {"config": DataCheckConfig(full=True).model_dump()} for op in ops}},
        description="Runs every asset check over every day: reads whole tables and lists the source. Detects rows that"
        " were edited by hand. Its log shows the last duration and the progress.",
    )
