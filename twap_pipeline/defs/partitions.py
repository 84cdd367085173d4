"""Partitions: UTC days from the start date to today or the sample's last day, and ranges of them for one run.

The ingest log records what is loaded, per object. A partition is the unit that people select, monitor and backfill.
"""

from collections.abc import Container, Iterable
from datetime import date, timedelta

import dagster as dg

from twap_pipeline.defs.event_log import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG


def daily_partitions(start: date, end: date | None = None) -> dg.DailyPartitionsDefinition:
    """Return the partitions from ``start`` to today (UTC), both included, or to ``end`` if that is earlier."""
    after_end = None if end is None else (end + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), end_date=after_end, timezone="UTC", end_offset=1)


def group_into_ranges(
    days: Iterable[date], length: int, *, covered: Container[date] | None = None
) -> list[tuple[date, date]]:
    """Return the smallest number of ranges (first day, last day) that cover the days; each has at most ``length`` days.

    A range starts and ends with one of the days. It can contain other days, which cost little: they have no pending
    objects. ``covered`` limits these days.
    """
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day < ranges[-1][0] + timedelta(days=length) and _covers(covered, ranges[-1][1], day):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def _covers(covered: Container[date] | None, first: date, last: date) -> bool:
    """Return whether the days between two days are covered."""
    return covered is None or all(first + timedelta(days=number) in covered for number in range(1, (last - first).days))


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags that make one run cover all partitions from ``first`` to ``last``."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.isoformat(), ASSET_PARTITION_RANGE_END_TAG: last.isoformat()}
