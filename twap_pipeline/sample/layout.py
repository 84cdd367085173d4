"""Assignment of events to objects: daily and hourly keys, gaps, and the write time of each object.

The last four days are in the hourly layout, the days before them in the daily layout. An hour without events has no
object, one whole day is missing, and some hours are split into several objects.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

_FULL_DAYS = 7
_HOURLY_DAYS = 4
_DAY = pl.col("time").str.slice(0, len("2025-08-17"))
_HOUR = pl.col("time").str.slice(0, len("2025-08-17T00"))


@dataclass(frozen=True, slots=True)
class SampleObject:
    """An object to write.

    Args:
        period: The UTC day (``2025-08-17``) or hour (``2025-08-20T05``) that it covers.
        rows: Its rows, in the format to write.
        part: Its number among the objects of the period.
        edge_case: Name of the edge case that it contains; None for a usual object.
        delay: Minimum time between the end of the period and the write time.
    """

    period: str
    rows: pl.DataFrame
    part: int = 0
    edge_case: str | None = None
    delay: timedelta = timedelta()

    @property
    def key(self) -> str:
        """Path below the prefix, in the daily or the hourly layout."""
        folder = self.period.replace("-", "/").replace("T", "/")
        return f"{'hourly/' if self.is_hourly else ''}{folder}/part-{self.part:04d}.parquet"

    @property
    def is_hourly(self) -> bool:
        """Whether the object covers one hour."""
        return "T" in self.period

    @property
    def written_at(self) -> datetime:
        """The earliest LastModified, aware UTC."""
        start = datetime.strptime(self.period, "%Y-%m-%dT%H" if self.is_hourly else "%Y-%m-%d").replace(tzinfo=UTC)
        return start + timedelta(hours=1 if self.is_hourly else 24) + self.delay


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days of a sample: daily, hourly and missing days, empty and split hours.

    Args:
        first_day: Midnight, aware UTC.
        days: Number of days.
    """

    first_day: datetime
    days: int

    @property
    def daily_days(self) -> list[str]:
        """Days (ISO) in the daily layout: all but the last four, or one in a sample of less than a week."""
        count = self.days - _HOURLY_DAYS if self.days >= _FULL_DAYS else 1
        return [f"{self.first_day + timedelta(days=day):%Y-%m-%d}" for day in range(count)]

    @property
    def missing_day(self) -> str | None:
        """The day (ISO) without objects; None in a sample of less than a week."""
        return f"{self.first_day + timedelta(days=self.days // 2):%Y-%m-%d}" if self.days >= _FULL_DAYS else None

    @property
    def hours(self) -> list[str]:
        """Hours (``2025-08-20T05``) of the hourly layout, also those of a missing day."""
        first = len(self.daily_days) * 24
        return [f"{self.first_day + timedelta(hours=hour):%Y-%m-%dT%H}" for hour in range(first, self.days * 24)]

    @property
    def empty_hours(self) -> list[str]:
        """Hours without events."""
        return self.hours[17::45]

    @property
    def split_hours(self) -> list[str]:
        """Hours whose rows are split into two or three objects."""
        return self.hours[5::13]

    @property
    def last_day_hours(self) -> list[str]:
        """Hours of the last day."""
        return self.hours[-24:]

    def remove_gaps(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the events since the first day, without the missing day and without orders active in an empty hour."""
        removed = events.filter(_HOUR.is_in(self.empty_hours))["twap_id"].unique()
        is_within = pl.col("time") >= f"{self.first_day:%Y-%m-%d}"
        return events.filter(
            is_within & ~pl.col("twap_id").is_in(removed.implode()) & _DAY.ne_missing(self.missing_day)
        )


def assign_to_objects(events: pl.DataFrame, calendar: Calendar) -> list[SampleObject]:
    """Return the objects of the events, by time: one per daily day, one or more per hour of the other days."""
    split_hours = frozenset(calendar.split_hours)
    period = pl.when(_DAY.is_in(calendar.daily_days)).then(_DAY).otherwise(_HOUR).alias("period")
    objects = []
    for rows in events.with_columns(period).partition_by("period", maintain_order=True):
        name = str(rows["period"][0])
        parts = 2 + rows.height % 2 if name in split_hours else 1
        slices = rows.drop("period").iter_slices(-(-rows.height // parts))
        objects += [SampleObject(name, part_rows, part) for part, part_rows in enumerate(slices)]
    return objects
