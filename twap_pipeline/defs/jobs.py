"""Jobs: named selections of assets that people, schedules and commands run."""

from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.assets import STATUS_KEY

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

INGEST_JOB = "ingest_twap_status"


CHECK_JOB = "check_twap_status"


def build_ingest_job() -> "UnresolvedAssetJobDefinition":
    """Return the job that takes days into ``twap_status``."""
    return dg.define_asset_job(
        INGEST_JOB,
        selection=dg.AssetSelection.assets(STATUS_KEY).without_checks(),
        description="Takes the objects of the chosen days that the ledger does not hold yet.",
    )


def build_check_job() -> "UnresolvedAssetJobDefinition":
    """Return the job that asks every standing question; apart from ingestion, since each reads the whole table."""
    return dg.define_asset_job(
        CHECK_JOB,
        selection=dg.AssetSelection.checks_for_assets(STATUS_KEY),
        description="Runs every asset check of twap_status.",
    )
