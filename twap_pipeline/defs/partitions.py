"""Which UTC days are partitions: from the feed's first day to today, today included.

Truth per object is the ledger; a day is what people choose, watch and backfill.
"""

from datetime import date

import dagster as dg


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Return the days from ``start`` to today (UTC)."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)
