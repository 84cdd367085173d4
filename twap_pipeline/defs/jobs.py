"""Asset jobs: the named selections of assets that schedules, sensors, commands and people run.

Jobs that consist of ops belong to `maintenance_jobs`. A run of a job is one process, whatever the executor of the code
location is: a process per step costs seconds and saves nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from twap_pipeline.defs.asset_checks import DataCheckConfig, table_checks_op
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.data_sets import FILLS_NAMES, STATUS_NAMES, DataSetDefinition
from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition
from twap_pipeline.domain.data_set import TWAP_STATUS

INGEST_JOB = STATUS_NAMES.ingest_job
INGEST_FILLS_JOB = FILLS_NAMES.ingest_job
REFRESH_JOB = "refresh_twap_orders"
CHECK_JOB = "check_twap_status"
FULL_CHECK_JOB = "full_data_checks"


def build_ingest_job(definition: DataSetDefinition) -> UnresolvedAssetJobDefinition:
    """Return the job that materializes the table of a data set; for the statuses also the downstream assets."""
    keys, refresh = [definition.table_key], ""
    if definition.data_set == TWAP_STATUS:
        keys += [definition.catalog.orders_key, definition.catalog.daily_stats_key]
        refresh = ", then refreshes twap_orders and twap_daily_stats"
    return _build_job(
        definition.names.ingest_job,
        dg.AssetSelection.assets(*keys).without_checks(),
        f"Loads the new objects of the selected days into {definition.data_set.name}{refresh}. Objects that are loaded"
        " are not read again.",
    )


def build_refresh_job(catalog: AssetCatalog) -> UnresolvedAssetJobDefinition:
    """Return the job that refreshes the orders from ``twap_status``."""
    return _build_job(
        REFRESH_JOB,
        dg.AssetSelection.assets(catalog.orders_key, catalog.daily_stats_key).without_checks(),
        "Refreshes the orders of the selected days that have events loaded since the last refresh; with recompute: true"
        " in the configuration of twap_orders, all orders of these days. Reads no object.",
    )


def build_check_job(tables: Sequence[dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    """Return the job that runs the checks of the assets, separate from the jobs that load: many loads need one run."""
    return _build_job(
        CHECK_JOB,
        dg.AssetSelection.checks_for_assets(*tables),
        "Runs every asset check of the tables: evaluates the days that changed, and lists the source.",
    )


def build_full_check_job(tables: Sequence[dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    """Return the job that runs the checks of the assets over every day, whatever their stored results are."""
    ops = [table_checks_op(key.path[-1]) for key in tables]
    return _build_job(
        FULL_CHECK_JOB,
        dg.AssetSelection.checks_for_assets(*tables),
        "Runs every asset check over every day: reads whole tables and lists the source. Detects rows that were edited"
        " by hand. Its log shows the last duration and the progress.",
        config={"ops": {op: {"config": DataCheckConfig(full=True).model_dump()} for op in ops}},
    )


def _build_job(
    name: str, selection: dg.AssetSelection, description: str, config: Mapping[str, Any] | None = None
) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name, selection, description=description, config=config, executor_def=dg.in_process_executor
    )
