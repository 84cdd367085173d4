"""What runs by the clock: every night the day that has just ended (UTC), and then the checks."""

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_yesterday_schedule(job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Return the schedule of 00:30 UTC for yesterday; by then the day's last hourly object is usually there."""

    @dg.schedule(
        name="daily_ingest",
        job=job,
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",
        description="Takes yesterday's objects; what comes later the sensor finds.",
    )
    def daily_ingest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        yesterday = (context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)).date().isoformat()
        return dg.RunRequest(run_key=yesterday, partition_key=yesterday)

    return daily_ingest


def build_check_schedule(job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Return the schedule of 01:30 UTC for the checks, after the night's ingestion."""
    return dg.ScheduleDefinition(
        name="daily_checks",
        job=job,
        cron_schedule="30 1 * * *",
        execution_timezone="UTC",
        description="Asks every standing question of the table once a day.",
    )
