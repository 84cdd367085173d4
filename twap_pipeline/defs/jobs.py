"""Jobs: named selections of assets that people, schedules and commands run."""

from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.assets import STATUS_KEY
from twap_pipeline.defs.orders import DAILY_STATS_KEY, ORDERS_KEY

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

INGEST_JOB = "ingest_twap_status"
REFRESH_JOB = "refresh_twap_orders"
CHECK_JOB = "check_twap_status"


def build_ingest_job() -> "UnresolvedAssetJobDefinition":
    """Return the job that takes days into ``twap_status`` and what hangs on it."""
    return dg.define_asset_job(
        INGEST_JOB,
        selection=dg.AssetSelection.assets(STATUS_KEY, ORDERS_KEY, DAILY_STATS_KEY).without_checks(),
        description="Takes the objects of the chosen days that the ledger does not hold yet, and refreshes the orders.",
    )


def build_refresh_job() -> "UnresolvedAssetJobDefinition":
    """Return the job that brings the orders up to what ``twap_status`` holds, without reading the source."""
    return dg.define_asset_job(
        REFRESH_JOB,
        selection=dg.AssetSelection.assets(ORDERS_KEY, DAILY_STATS_KEY).without_checks(),
        description="Refreshes every order that the chosen days' objects have an event of; reads no object.",
    )


def build_check_job() -> "UnresolvedAssetJobDefinition":
    """Return the job that asks every standing question; apart from ingestion, since each reads the whole table."""
    return dg.define_asset_job(
        CHECK_JOB,
        selection=dg.AssetSelection.checks_for_assets(STATUS_KEY, ORDERS_KEY),
        description="Runs every asset check of twap_status and twap_orders.",
    )
