"""Functions for UTC months, by which the table ``twap_status`` can be partitioned; a month is its first date."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

FIRST_MONTH = date(2023, 1, 1)
"""The month of the oldest valid event time: the exchange has no older TWAP order."""


def month_of(day: date) -> date:
    """Return the month of a UTC date."""
    return date(day.year, day.month, 1)


def next_month(month: date) -> date:
    """Return the month after this one."""
    return month_of(month + timedelta(days=31))


def month_range(first: date, end: date) -> Iterator[date]:
    """Yield the months from ``first`` to before ``end``."""
    while first < end:
        yield first
        first = next_month(first)


def start_of(month: date) -> datetime:
    """Return the start of a month, 00:00 UTC of its first day."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def parse_month(text: str) -> date:
    """Return the month of a text such as ``2025-03``.

    Raises:
        ValueError: It is not a month.
    """
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()


def format_month(month: date) -> str:
    """Return a text such as ``2025-03``."""
    return f"{month:%Y-%m}"
