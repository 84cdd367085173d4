"""Schedules: the daily ingest of the previous UTC day per data set, then the asset checks; once per week all days."""

from datetime import UTC, timedelta

import dagster as dg

from twap_pipeline.defs.data_sets import FILLS_NAMES, STATUS_NAMES, DataSetDefinition
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB

_INGEST_SCHEDULES = {
    STATUS_NAMES.schedule: ("30 0 * * *", "At 00:30 UTC", "when its last hourly object usually exists"),
    FILLS_NAMES.schedule: ("0 11 * * *", "At 11:00 UTC", "one hour after the vendor usually publishes the day"),
}
"""Name → cron expression, its text, and the reason of the time."""


def build_ingest_schedule(
    definition: DataSetDefinition, default_status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Return the schedule that ingests yesterday; a tick is skipped if yesterday is not a partition."""
    cron, time, reason = _INGEST_SCHEDULES[definition.names.schedule]

    @dg.schedule(
        name=definition.names.schedule,
        job_name=definition.names.ingest_job,
        default_status=default_status,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=f"{time}: loads the previous day's objects, {reason}; the sensor {definition.names.sensor} loads"
        " later ones.",
    )
    def request_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = (context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)).date().isoformat()
        if not definition.partitions.has_partition_key(yesterday):
            return dg.SkipReason(f"{yesterday} is not a partition: the sample data ends before")
        return dg.RunRequest(run_key=yesterday, partition_key=yesterday)

    return request_yesterday


def build_check_schedules(default_status: dg.DefaultScheduleStatus) -> list[dg.ScheduleDefinition]:
    """Return the schedules of the asset checks: after the nightly ingest, and over every day once per week."""
    daily = dg.ScheduleDefinition(
        name="daily_checks",
        job_name=CHECK_JOB,
        default_status=default_status,
        cron_schedule="30 1 * * *",
        execution_timezone="UTC",
        description="At 01:30 UTC: runs every asset check of the tables.",
    )
    weekly = dg.ScheduleDefinition(
        name="weekly_full_checks",
        job_name=FULL_CHECK_JOB,
        default_status=default_status,
        cron_schedule="30 2 * * 0",
        execution_timezone="UTC",
        description="On Sundays at 02:30 UTC: runs every asset check over every day; reads whole tables.",
    )
    return [daily, weekly]
