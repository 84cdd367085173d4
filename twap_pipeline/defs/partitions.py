"""Partitions: UTC days from the start date to today, and ranges of them for one run.

The ingest log records what is loaded, per object. A partition is the unit that people select, monitor and backfill.
"""

from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg

from twap_pipeline.defs.event_log import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Return the partitions from ``start`` to today (UTC), both included."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)


def group_into_ranges(days: Iterable[date], length: int) -> list[tuple[date, date]]:
    """Return the smallest number of ranges (first day, last day) that cover the days; each has at most ``length`` days.

    A range starts and ends with one of the days. It can contain other days, which cost little: they have no pending
    objects.
    """
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day < ranges[-1][0] + timedelta(days=length):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags that make one run cover all partitions from ``first`` to ``last``."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.isoformat(), ASSET_PARTITION_RANGE_END_TAG: last.isoformat()}
