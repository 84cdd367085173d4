"""Schedules: the nightly ingest of the previous UTC day, then the asset checks; once per week all of their days."""

from datetime import UTC, timedelta

import dagster as dg

from twap_pipeline.defs.event_log import UnresolvedAssetJobDefinition


def build_ingest_schedule(
    job: UnresolvedAssetJobDefinition,
    partitions: dg.DailyPartitionsDefinition,
    default_status: dg.DefaultScheduleStatus,
) -> dg.ScheduleDefinition:
    """Return the schedule that ingests yesterday at 00:30 UTC, when its last hourly object usually exists.

    Args:
        job: The ingest job.
        partitions: The partitions; a tick is skipped if yesterday is none of them.
        default_status: Status until somebody starts or stops the schedule in the UI.
    """

    @dg.schedule(
        name="daily_ingest",
        job=job,
        default_status=default_status,
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",
        description="At 00:30 UTC: loads the previous day's objects; the sensor new_twap_objects loads later ones.",
    )
    def daily_ingest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = (context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)).date().isoformat()
        if not partitions.has_partition_key(yesterday):
            return dg.SkipReason(f"{yesterday} is not a partition: the sample data ends before")
        return dg.RunRequest(run_key=yesterday, partition_key=yesterday)

    return daily_ingest


def build_check_schedule(
    job: UnresolvedAssetJobDefinition, default_status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that runs the asset checks at 01:30 UTC, after the nightly ingest."""
    return dg.ScheduleDefinition(
        name="daily_checks",
        job=job,
        default_status=default_status,
        cron_schedule="30 1 * * *",
        execution_timezone="UTC",
        description="At 01:30 UTC: runs every asset check of twap_status and twap_orders.",
    )


def build_full_check_schedule(
    job: UnresolvedAssetJobDefinition, default_status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that runs the asset checks over every day, on Sundays at 02:30 UTC."""
    return dg.ScheduleDefinition(
        name="weekly_full_checks",
        job=job,
        default_status=default_status,
        cron_schedule="30 2 * * 0",
        execution_timezone="UTC",
        description="On Sundays at 02:30 UTC: runs every asset check over every day; reads whole tables.",
    )
