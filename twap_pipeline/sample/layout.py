"""Which object holds which event: the bucket's two key_date_patterns, its gaps, and when each object was written.

Days begin in the daily layout and go on in the hourly one. An hour without events has no object; one whole day is
lost; some hours come in several objects. Here belongs where rows lie; their form is ``events`` and ``edge_cases``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FIRST_DAY = datetime(2025, 8, 17, tzinfo=UTC)
"""The first day that the bucket has."""

_FULL_DAYS = 7
_HOUR_TEXT = len("2025-08-17T00")
_DAY_TEXT = len("2025-08-17")


@dataclass(frozen=True, slots=True)
class SampleObject:
    """An object to be written.

    Args:
        period: The UTC day (``2025-08-17``) or hour (``2025-08-20T05``) that it covers.
        rows: Its rows as they will be written.
        part: Its number among the objects of the period.
        edge_case: Which edge_case it shows.
        delay: Time from the period's end after which it was written.
    """

    period: str
    rows: pl.DataFrame
    part: int = 0
    edge_case: str | None = None
    delay: timedelta = timedelta(minutes=3)

    @property
    def key(self) -> str:
        """Path below the prefix, in the layout of a day or of an hour."""
        folder = self.period.replace("-", "/").replace("T", "/")
        return f"{'hourly/' if self.hourly else ''}{folder}/part-{self.part:04d}.parquet"

    @property
    def hourly(self) -> bool:
        """Whether it covers one hour."""
        return "T" in self.period

    @property
    def written_at(self) -> datetime:
        """When the vendor wrote it, aware UTC: the store's LastModified."""
        start = datetime.strptime(self.period, "%Y-%m-%dT%H" if self.hourly else "%Y-%m-%d").replace(tzinfo=UTC)
        return start + timedelta(hours=1 if self.hourly else 24) + self.delay


@dataclass(frozen=True, slots=True)
class Calendar:
    """The sample's days: which are daily, hourly or lost, and which hours are empty or come in parts."""

    days: int

    @property
    def daily_days(self) -> list[str]:
        """Days (ISO) in the daily layout: the first three, or one of a short sample."""
        return [f"{FIRST_DAY + timedelta(days=day):%Y-%m-%d}" for day in range(3 if self.days >= _FULL_DAYS else 1)]

    @property
    def lost_day(self) -> str | None:
        """The day (ISO) whose objects the vendor lost; None in a short sample."""
        return f"{FIRST_DAY + timedelta(days=self.days // 2):%Y-%m-%d}" if self.days >= _FULL_DAYS else None

    @property
    def hours(self) -> list[str]:
        """Hours (``2025-08-20T05``) of the hourly layout, the lost day's too."""
        first = len(self.daily_days) * 24
        return [f"{FIRST_DAY + timedelta(hours=hour):%Y-%m-%dT%H}" for hour in range(first, self.days * 24)]

    @property
    def empty_hours(self) -> list[str]:
        """Hours in which nothing happened."""
        return self.hours[17::45]

    @property
    def split_hours(self) -> list[str]:
        """Hours whose rows come in two or three objects."""
        return self.hours[5::13]

    def keep(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the events that the sample has: orders that touch an empty hour go whole, lost events singly."""
        import polars as pl

        end = f"{FIRST_DAY + timedelta(days=self.days):%Y-%m-%d}"
        hour, day = pl.col("time").str.slice(0, _HOUR_TEXT), pl.col("time").str.slice(0, _DAY_TEXT)
        gone = events.filter(hour.is_in(self.empty_hours))["twap_id"].unique()
        present = (pl.col("time") >= f"{FIRST_DAY:%Y-%m-%d}") & (pl.col("time") < end)
        return events.filter(present & ~pl.col("twap_id").is_in(gone.implode()) & day.ne_missing(self.lost_day))


def assign_to_objects(events: pl.DataFrame, calendar: Calendar) -> list[SampleObject]:
    """Return the objects that hold the events, by time: daily ones for the calendar's daily days, else hourly."""
    import polars as pl

    day, split_hours = pl.col("time").str.slice(0, _DAY_TEXT), frozenset(calendar.split_hours)
    hour = pl.col("time").str.slice(0, _HOUR_TEXT)
    period = pl.when(day.is_in(calendar.daily_days)).then(day).otherwise(hour).alias("period")
    objects = []
    for rows in events.with_columns(period).partition_by("period", maintain_order=True):
        name = str(rows["period"][0])
        parts = 2 + rows.height % 2 if name in split_hours else 1
        size = -(-rows.height // parts)
        slices = (rows.drop("period").slice(first, size) for first in range(0, rows.height, size))
        objects += [SampleObject(name, piece, part) for part, piece in enumerate(slices)]
    return objects
