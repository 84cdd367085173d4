"""Parses the feed's times, in any format (text, epoch, timestamp), to UTC with microseconds.

The feed contains ISO text without a zone, timestamps, milliseconds in timestamp[ns], and epochs in s, ms, µs and ns as
integers, digit text and doubles; copies of the feed contain the text forms of other systems. The unit of epochs is
inferred per object and column, from all values of the column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from twap_pipeline.domain.months import FIRST_MONTH, start_of
from twap_pipeline.errors import ObjectInvalidError

UNITS: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Epoch unit → ticks per second."""

EARLIEST = start_of(FIRST_MONTH)
"""Lower bound of event times."""

_LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_MICROSECONDS = pl.Datetime("us", "UTC")
_EXACT_IN_DOUBLE = 2**53
_INT64_MAX = 2**63 - 1
_NAIVE_ISO = ("%Y-%m-%dT%H:%M:%S.%9f", "%Y-%m-%dT%H:%M:%S%.f")
"""The feed's usual format comes first: its fixed length makes parsing four times as fast as the general format."""

_EPOCH_TEXT = r"^-?[0-9]{1,19}$"
_DAY_AND_CLOCK = (
    r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})(?:[Tt]| +)"
    r"([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]{1,9})[0-9]*)?)?"
)
_ZONES = (
    "",  # the feed itself
    r" ?(?:Z|z|UTC|GMT)",  # ISO 8601, BigQuery, Snowflake
    r"Z\[(?:Etc/)?(?:UTC|GMT|UCT)\]",  # java.time in UTC
    r" ?[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?",  # ISO 8601, PostgreSQL, SQL Server, Snowflake
    r"[+-](?:0[0-9]|1[0-5]):[0-5][0-9]\[[A-Za-z_]+/[A-Za-z_/+-]+\]",  # java.time in a region; the offset decides
    r" [+]00:?00 UTC",  # Go, Ruby
)
"""Regular expressions of the zones of times. A name of a zone without its offset is not read, except UTC."""

_TIME_TEXT = f"^{_DAY_AND_CLOCK}({'|'.join(_ZONES)})$"
"""Regular expression of every time in text that is not in the feed's own form: day, clock, fraction and zone."""


@dataclass(frozen=True, slots=True)
class EventTimeRange:
    """Valid event times of one object: from `EARLIEST` to one day after the object's LastModified or day.

    The upper bound does not depend on this host's clock, so loading an object again returns the same rows.
    """

    start: datetime
    end: datetime

    @classmethod
    def before(cls, last_modified: datetime, day: date | None = None) -> "EventTimeRange":
        """Return the range of an object with this LastModified.

        Args:
            last_modified: LastModified of the object; aware.
            day: UTC day of the object. Its end replaces an older LastModified, such as 1980 in an unpacked archive.
        """
        newest = last_modified
        if day is not None and last_modified.astimezone(UTC).date() < day:
            newest = datetime.combine(day, time.max, UTC)
        return cls(EARLIEST, min(newest, _LATEST) + timedelta(days=1))

    def contains(self, value: pl.Expr) -> pl.Expr:
        """Return whether each time (Datetime µs, UTC) is within the range; false for null."""
        start, end = (_microseconds(bound) for bound in (self.start, self.end))
        return value.to_physical().is_between(start, end).fill_null(value=False)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def to_epoch(values: pl.Series) -> pl.Series:
    """Return whole numbers as Int64, in a time unit that is not known yet; any other value becomes null."""
    dtype = values.dtype
    if dtype.is_temporal():
        return values.to_physical()
    if dtype.is_float():
        whole = (values == values.floor()) & (values.abs() < _EXACT_IN_DOUBLE)
        return values.set(~whole.fill_null(value=False), None).cast(pl.Int64, strict=False)
    if isinstance(dtype, pl.Decimal):
        whole = values == values.round(0)
        return values.set(~whole.fill_null(value=False), None).cast(pl.Int64, strict=False)
    if dtype == pl.String:
        return values.to_frame("v").select(
            pl.when(pl.col("v").str.contains(_EPOCH_TEXT)).then(pl.col("v")).cast(pl.Int64, strict=False)
        )["v"]
    return values.cast(pl.Int64, strict=False)


def count_matches_by_unit(values: pl.Series, time_range: EventTimeRange) -> dict[str, int]:
    """Return unit → number of values that are within the range in this unit; only units with at least one value."""
    numbers = to_epoch(values)
    if numbers.null_count() == len(numbers):
        return {}
    low, high = (int(bound.timestamp()) for bound in (time_range.start, time_range.end))
    matches = {
        unit: (numbers >= low * ticks) & (numbers <= min(high * ticks, _INT64_MAX)) for unit, ticks in UNITS.items()
    }
    return {unit: int(match.sum()) for unit, match in matches.items() if match.any()}


def infer_unit(
    counts: Mapping[str, int], *, values_present: int, key: str, column: str, time_range: EventTimeRange
) -> str | None:
    """Return the unit of a column of epochs; None if the column contains no number.

    Single values that match no unit are quarantined later. A column in which no value matches, or in which values match
    different units, cannot be read.

    The counts are those of `count_matches_by_unit` over the whole column. ``values_present`` is the number of its
    non-null values, without zeros (the feed's "unknown").

    Raises:
        ObjectInvalidError: No unit matches, or more than one unit matches.
    """
    if not values_present:
        return None
    if len(counts) == 1:
        return next(iter(counts))
    if not counts:
        reason = (
            f"in none of s, ms, µs, ns is any of its {values_present} values a time"
            f" between {time_range.start:%Y-%m-%d} and {time_range.end:%Y-%m-%d}, one day after the object's"
            " LastModified or the day in its key"
        )
    else:
        reason = "it mixes units: " + ", ".join(f"{count} values in {unit}" for unit, count in counts.items())
    raise ObjectInvalidError(key, f"column {column!r}: the unit of its times cannot be inferred: {reason}")


def to_utc(values: pl.Series, unit: str | None) -> pl.Series:
    """Return times in any encoding as Datetime µs UTC; null if a value cannot be parsed.

    Nanoseconds are rounded down to microseconds, PostgreSQL's precision. A time without a zone is UTC. The unit is that
    of the column's epochs (`infer_unit`).
    """
    if values.dtype == pl.String:
        times = _from_naive_iso(values)
        if times.null_count() == values.null_count():
            return times
        return times.zip_with(times.is_not_null(), _from_other_text(values, unit))
    return _from_epochs(to_epoch(values), unit)


def _from_epochs(numbers: pl.Series, unit: str | None) -> pl.Series:
    if unit is None:
        return pl.Series(numbers.name, [None] * len(numbers), UTC_MICROSECONDS)
    number, ticks = pl.col(numbers.name), UNITS[unit]
    if ticks > UNITS["us"]:
        scaled = number // (ticks // UNITS["us"])
    else:
        factor = UNITS["us"] // ticks
        limit = _INT64_MAX // factor
        scaled = pl.when(number.is_between(-limit, limit)).then(number * factor)
    return numbers.to_frame().select(scaled.cast(UTC_MICROSECONDS).alias(numbers.name)).to_series()


def _from_naive_iso(text: pl.Series) -> pl.Series:
    times = text
    for time_format in _NAIVE_ISO:
        naive = pl.col(text.name).str.to_datetime(time_format, time_unit="us", strict=False)
        times = text.to_frame().select(naive.dt.replace_time_zone("UTC")).to_series()
        if times.null_count() == text.null_count():
            break
    return times


def _from_other_text(text: pl.Series, unit: str | None) -> pl.Series:
    """Return times in the forms of `_TIME_TEXT`, and epochs as digits."""
    name = text.name
    parts = pl.col(name).str.strip_chars().str.extract_groups(_TIME_TEXT).struct
    year, month, day, clock, seconds, fraction, zone = (parts.field(str(group)) for group in range(1, 8))
    date = pl.concat_str(year, month, day, separator="-")
    iso = pl.concat_str(date, pl.lit("T"), clock, seconds.fill_null(":00"), pl.lit("."), fraction.fill_null("0"))
    naive = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    offset = zone.str.extract(r"([+-][0-9:]+)")
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    digits = offset.fill_null("").str.replace_all("[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
    times = (naive - pl.duration(minutes=sign * minutes)).dt.replace_time_zone("UTC")
    frame = text.to_frame().with_columns(_from_epochs(to_epoch(text), unit).alias("epoch"))
    return frame.select(pl.coalesce(pl.col("epoch"), times).alias(name)).to_series()


def months_of(times: pl.Series) -> frozenset[date]:
    """Return the months of event times (Datetime µs, UTC; none is null)."""
    return frozenset(times.dt.truncate("1mo").dt.date().unique())
