"""Which UTC days are partitions: from the feed's first day to today, today included.

Truth per object is the ledger; a day is what people choose, watch and backfill.
"""

from collections.abc import Iterable
from datetime import date, timedelta

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Return the days from ``start`` to today (UTC)."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)


def group_into_ranges(days: Iterable[date], length: int) -> list[tuple[date, date]]:
    """Return the fewest ranges of at limit ``length`` days that cover these days."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day < ranges[-1][0] + timedelta(days=length):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags by which one run takes all days of a range."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.isoformat(), ASSET_PARTITION_RANGE_END_TAG: last.isoformat()}
