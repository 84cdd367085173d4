"""Asset jobs: the named selections of assets that schedules, sensors, commands and people run.

Jobs that consist of ops belong to `maintenance_jobs`.
"""

import dagster as dg

from twap_pipeline.defs.assets import STATUS_KEY
from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition
from twap_pipeline.defs.orders import DAILY_STATS_KEY, ORDERS_KEY

INGEST_JOB = "ingest_twap_status"
REFRESH_JOB = "refresh_twap_orders"
CHECK_JOB = "check_twap_status"


def build_ingest_job() -> UnresolvedAssetJobDefinition:
    """Return the job that materializes ``twap_status`` and its downstream assets."""
    return dg.define_asset_job(
        INGEST_JOB,
        selection=dg.AssetSelection.assets(STATUS_KEY, ORDERS_KEY, DAILY_STATS_KEY).without_checks(),
        description="Ingests the pending objects of the selected partitions and refreshes the orders.",
    )


def build_refresh_job() -> UnresolvedAssetJobDefinition:
    """Return the job that refreshes the orders from ``twap_status``."""
    return dg.define_asset_job(
        REFRESH_JOB,
        selection=dg.AssetSelection.assets(ORDERS_KEY, DAILY_STATS_KEY).without_checks(),
        description="Refreshes each order that has an event in the selected partitions; reads no objects.",
    )


def build_check_job() -> UnresolvedAssetJobDefinition:
    """Return the job that runs the asset checks; it is separate because most checks read a whole table."""
    return dg.define_asset_job(
        CHECK_JOB,
        selection=dg.AssetSelection.checks_for_assets(STATUS_KEY, ORDERS_KEY),
        description="Runs every asset check of twap_status and twap_orders.",
    )
