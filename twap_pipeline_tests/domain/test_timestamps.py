"""Unit tests of the timestamp parser: equal results for every encoding, and inferred or refused units."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twap_pipeline.domain.timestamps import (
    EARLIEST,
    UNITS,
    EventTimeRange,
    count_matches_by_unit,
    infer_unit,
    to_epoch,
    to_utc,
)
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline_tests.feed_factories import EVENT, EVENT_NS, EVENT_TEXT, KEY, LAST_MODIFIED, TIME_RANGE
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK_NS = {unit: 10**9 // ticks for unit, ticks in UNITS.items()}
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}

nanoseconds = st.integers(
    (TIME_RANGE.start - EPOCH) // timedelta(microseconds=1) * 1_000,
    (LAST_MODIFIED - EPOCH) // timedelta(seconds=1) * 10**9,
)


def read(column: pl.Series, time_range: EventTimeRange = TIME_RANGE) -> list[datetime | None]:
    """Infer the unit of the column and return its times."""
    counts = count_matches_by_unit(column, time_range)
    present = int(to_epoch(column).is_not_null().sum())
    return to_utc(
        column, infer_unit(counts, values_present=present, key=KEY, column=column.name, time_range=time_range)
    ).to_list()


def column_of(*values: object, dtype: pl.DataType | None = None) -> pl.Series:
    return pl.Series("time", values, dtype)


def iso(ns: int, digits: int, offset_minutes: int = 0, separator: str = "T") -> str:
    local = EPOCH + timedelta(seconds=ns // 10**9, minutes=offset_minutes)
    fraction = f".{ns % 10**9:09d}"[: digits + 1] if digits else ""
    return f"{local:%Y-%m-%d}{separator}{local:%H:%M:%S}{fraction}"


def zone(offset_minutes: int, colon: str) -> str:
    hours, minutes = divmod(abs(offset_minutes), 60)
    return f"{'-' if offset_minutes < 0 else '+'}{hours:02d}{colon}{minutes:02d}"


@pytest.mark.fault("V4", "V5")
@examples(100)
@given(ns=nanoseconds, unit=st.sampled_from(list(UNITS)), offset=st.integers(-840, 840))
@example(ns=EVENT_NS, unit="ns", offset=0)
@example(ns=EVENT_NS, unit="ms", offset=-330)
def test_every_encoding_of_a_time_is_equal(ns: int, unit: str, offset: int) -> None:
    ticks, digits = ns // TICK_NS[unit], DIGITS[unit]
    exact_ns = ticks * TICK_NS[unit]
    expected = EPOCH + timedelta(microseconds=exact_ns // 1_000)
    encodings = {
        "ISO text": column_of(iso(exact_ns, digits)),
        "ISO text, space separator": column_of(iso(exact_ns, digits, separator=" ")),
        "ISO text, Z": column_of(iso(exact_ns, digits) + "Z"),
        "ISO text, offset": column_of(iso(exact_ns, digits, offset) + zone(offset, ":")),
        "ISO text, offset without colon": column_of(iso(exact_ns, digits, offset) + zone(offset, "")),
        "integer": column_of(ticks, dtype=pl.Int64()),
        "unsigned integer": column_of(ticks, dtype=pl.UInt64()),
        "digit text": column_of(str(ticks)),
    }
    if unit != "ns":
        encodings["double"] = column_of(float(ticks))
    if unit != "s":
        encodings["timestamp"] = column_of(ticks, dtype=pl.Int64()).cast(pl.Datetime(unit))  # type: ignore[arg-type]
        encodings["aware timestamp"] = encodings["timestamp"].dt.replace_time_zone("UTC")
    for declared in {"ms", "us", "ns"} - {unit}:
        encodings[f"{unit} inside timestamp[{declared}]"] = column_of(ticks, dtype=pl.Int64()).cast(
            pl.Datetime(declared)  # type: ignore[arg-type]
        )

    assert {name: read(column) for name, column in encodings.items()} == {name: [expected] for name in encodings}


@pytest.mark.fault("V5")
@pytest.mark.parametrize("text", [EVENT_TEXT, f"  {EVENT_TEXT}Z ", f"{EVENT_TEXT}123", "2026-09-24T13:12:32.992506+02"])
def test_nanoseconds_are_floored_and_naive_time_is_utc(text: str) -> None:
    assert read(column_of(text)) == [EVENT]


@pytest.mark.fault("V5")
def test_nanosecond_before_epoch_is_floored() -> None:
    before = EPOCH - timedelta(microseconds=1)

    assert to_utc(column_of(-1), "ns").to_list() == [before]
    assert to_utc(column_of("1969-12-31T23:59:59.999999999"), None).to_list() == [before]


@pytest.mark.fault("V11")
@pytest.mark.parametrize(
    "text",
    [
        "2026-09-24 11:12:32.992506 UTC",
        "2026-09-24 11:12:32.992506 GMT",
        "2026-09-24T11:12:32.992506Z[UTC]",
        "2026-09-24T11:12:32.992506Z[Etc/UTC]",
        "2026-09-24T13:12:32.992506+02:00[Europe/Vienna]",
        "2026-09-24T11:12:32,992506",
        "2026-09-24 11:12:32,992506967Z",
        "2026-09-24 11:12:32.992506+00",
        "2026-09-24 13:12:32.992506+0200",
        "2026-09-24 13:12:32.9925069 +02:00",
        "2026-09-24 11:12:32.992506 +0000 UTC",
        "2026-09-24t11:12:32.992506z",
        "2026/09/24 11:12:32.992506",
    ],
)
def test_text_form_of_another_system_is_read(text: str) -> None:
    assert to_utc(column_of(text, EVENT_TEXT, None), None).to_list() == [EVENT, EVENT, None]


@pytest.mark.fault("V11")
@pytest.mark.parametrize(
    "text", ["2026-09-24T11:12", "2026-09-24 11:12Z", "2026-09-24T13:12+02:00", "2026/09/24 11:12"]
)
def test_text_without_seconds_is_a_full_minute(text: str) -> None:
    assert read(column_of(text)) == [EVENT.replace(second=0, microsecond=0)]


@pytest.mark.fault("F5")
def test_whole_decimal_is_an_epoch() -> None:
    numbers = column_of(Decimal(EVENT_NS), None, Decimal("0.5"), Decimal("9" * 30), dtype=pl.Decimal(38, 1))

    assert to_epoch(numbers).to_list() == [EVENT_NS, None, None, None]
    assert read(numbers) == [EVENT, None, None, None]


def test_timestamp_of_another_zone_is_its_instant() -> None:
    vienna = pl.Series("time", [datetime(2026, 9, 24, 13, 12, 32, 992_506)]).dt.replace_time_zone(  # noqa: DTZ001
        "Europe/Vienna"
    )

    assert read(vienna) == [EVENT]


def test_epochs_and_iso_text_in_one_column() -> None:
    assert read(column_of(EVENT_TEXT, str(EVENT_NS), None)) == [EVENT, EVENT, None]


@pytest.mark.fault("V6")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "infinity",
        "-infinity",
        "now",
        "NaT",
        "2026-09-24",
        "2026-09-24T11",
        "2026-09-24T11:12.5",
        "2026-02-30T00:00:00",
        "2026-09-24T24:00:00",
        "2026-09-24T11:12:32.",
        "2026-09-24T11:12:32 CEST",
        "2026-09-24T11:12:32[Europe/Vienna]",
        "2026-09-24T11:12:32 +0200 UTC",
        "24/09/2026 11:12:32",
        "12026-09-24T11:12:32",
        "\u0662\u0660\u0662\u0666-\u0660\u0669-\u0662\u0664T\u0661\u0661:\u0661\u0662:\u0663\u0662",
        "9" * 20,
        "0x68a3",
        "1790248352.992",
        "1_790_248_352",
    ],
)
def test_text_that_is_not_a_time_is_null(text: str) -> None:
    assert to_utc(column_of(text, EVENT_TEXT), "s").to_list() == [None, EVENT]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("offset", ["+\u0660\u0661", "-\u0660\u0661:\u0663\u0660", "+99:99", "+24:00", "-25"])
def test_text_with_invalid_offset_is_null(offset: str) -> None:
    assert to_utc(column_of("2026-09-24T11:12:32" + offset, EVENT_TEXT), None).to_list() == [None, EVENT]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300, 0.5, 2.0**53])
def test_double_that_is_not_whole_is_null(value: float) -> None:
    assert to_utc(column_of(value, 1_790_248_352.0), "s").to_list() == [None, EVENT.replace(microsecond=0)]


@pytest.mark.fault("V6")
@pytest.mark.parametrize(("unit", "value"), [("s", 2**63 - 1), ("s", -(2**63)), ("ms", 2**62)])
def test_epoch_overflow_is_null(unit: str, value: int) -> None:
    assert to_utc(column_of(value), unit).to_list() == [None]


@pytest.mark.fault("V6")
@pytest.mark.parametrize(
    "text", ["1970-01-01T00:00:00", "0000-01-01T00:00:00", "2262-04-12T00:00:00", "9999-12-31T23:59:59.999999999Z"]
)
def test_extreme_years_are_out_of_range(text: str) -> None:
    inside = to_utc(column_of(text, EVENT_TEXT), None).to_frame().select(TIME_RANGE.contains(pl.col("time")))

    assert inside["time"].to_list() == [False, True]


@pytest.mark.fault("V6")
@given(st.lists(st.text() | st.none(), max_size=4))
@examples(100)
def test_any_text_is_parsed_or_null(texts: list[str | None]) -> None:
    assert to_utc(column_of(*texts, dtype=pl.String()), "ns").len() == len(texts)


TIME_PATTERN = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,12})?(Z|[+-]\d\d(:?\d\d)?)?"


@pytest.mark.fault("V6")
@given(st.from_regex(TIME_PATTERN, fullmatch=True, alphabet="01259\u0663T :.+-Z"))
@examples(50)
def test_any_time_like_text_is_parsed_or_null(text: str) -> None:
    assert to_utc(column_of(text), None).len() == 1


def neighbours(text: str) -> list[str]:
    """Return texts with one character inserted, replaced or removed."""
    positions = range(len(text))
    inserted = [text[:i] + char + text[i:] for i in (*positions, len(text)) for char in "-+0 :.TZ"]
    replaced = [text[:i] + char + text[i + 1 :] for i in positions for char in "-+0 :.TZ9"]
    return inserted + replaced + [text[:i] + text[i + 1 :] for i in positions]


@pytest.mark.fault("V6")
def test_text_is_parsed_independently_of_other_rows() -> None:
    def microseconds(*texts: str) -> list[int | None]:
        return to_utc(column_of(*texts), None).to_physical().to_list()

    texts = neighbours(EVENT_TEXT)[::4]

    assert microseconds(*texts, "no time") == [*(microseconds(text)[0] for text in texts), None]


@pytest.mark.fault("V4")
def test_two_units_in_one_column_are_refused() -> None:
    with pytest.raises(ObjectInvalidError) as raised:
        read(column_of(EVENT_NS, EVENT_NS // 10**6, EVENT_NS))

    assert raised.value.key == KEY
    assert "'time'" in raised.value.reason
    assert "1 values in ms" in raised.value.reason
    assert "2 values in ns" in raised.value.reason


@pytest.mark.fault("V4")
@pytest.mark.parametrize("values", [[1], [5, 6, 2**62], [-EVENT_NS]])
def test_column_that_matches_no_unit_is_refused(values: list[int]) -> None:
    with pytest.raises(ObjectInvalidError, match=f"in none of s, ms, µs, ns is any of its {len(values)} values"):
        read(column_of(*values))


@pytest.mark.fault("V4")
def test_value_of_no_unit_does_not_prevent_inference() -> None:
    assert read(column_of(EVENT_NS, 5)) == [EVENT, EPOCH]


@pytest.mark.fault("V4")
@pytest.mark.parametrize("dtype", [pl.Null(), pl.Int64(), pl.String(), pl.Float64(), pl.Datetime("ns")])
@pytest.mark.parametrize("values", [[], [None, None]])
def test_column_without_numbers_has_no_unit(dtype: pl.DataType, values: list[None]) -> None:
    column = column_of(*values, dtype=dtype)

    assert count_matches_by_unit(column, TIME_RANGE) == {}
    assert read(column) == values
    assert to_utc(column, None).dtype == pl.Datetime("us", "UTC")


@pytest.mark.fault("V4")
@given(st.datetimes(EARLIEST.replace(tzinfo=None) + timedelta(days=1), datetime(2100, 1, 1)))  # noqa: DTZ001
@examples(50)
def test_units_have_disjoint_ranges(last_modified: datetime) -> None:
    time_range = EventTimeRange.before(last_modified.replace(tzinfo=UTC))
    bounds = {
        unit: (int(time_range.start.timestamp()) * ticks, int(time_range.end.timestamp()) * ticks)
        for unit, ticks in UNITS.items()
    }
    ordered = sorted(bounds.values())

    assert all(high < low for (_, high), (low, _) in pairwise(ordered))


def test_range_depends_on_last_modified_only() -> None:
    time_range = EventTimeRange.before(LAST_MODIFIED)

    assert (time_range.start, time_range.end) == (datetime(2023, 1, 1, tzinfo=UTC), LAST_MODIFIED + timedelta(days=1))


@pytest.mark.parametrize("year", [1970, 1980, 2022])
def test_range_of_an_old_object_ends_after_its_day(year: int) -> None:
    """An unpacked archive has files of 1980, and a key with the day of its events."""
    day = EVENT.date()

    time_range = EventTimeRange.before(datetime(year, 1, 1, tzinfo=UTC), day)

    assert (time_range.end - timedelta(days=2)).date() == day - timedelta(days=1)
    assert EventTimeRange.before(LAST_MODIFIED, day).end == LAST_MODIFIED + timedelta(days=1)


def test_range_at_the_last_timestamp_does_not_overflow() -> None:
    latest = datetime.max.replace(tzinfo=UTC)

    assert EventTimeRange.before(latest).end == EventTimeRange.before(latest, latest.date()).end == latest


def test_unit_error_names_the_valid_range() -> None:
    time_range = EventTimeRange.before(datetime(1980, 1, 1, tzinfo=UTC))

    with pytest.raises(ObjectInvalidError, match="between 2023-01-01 and 1980-01-02, one day after the object's"):
        read(column_of(EVENT_NS), time_range)


@pytest.mark.parametrize("unit", UNITS)
def test_object_of_the_far_future_has_a_unit(unit: str) -> None:
    time_range = EventTimeRange.before(datetime(2400, 1, 1, tzinfo=UTC))

    assert count_matches_by_unit(column_of(EVENT_NS // TICK_NS[unit]), time_range)[unit] == 1


def test_range_includes_its_bounds() -> None:
    tick = timedelta(microseconds=1)
    times = [TIME_RANGE.start - tick, TIME_RANGE.start, TIME_RANGE.end, TIME_RANGE.end + tick, None]
    frame = pl.DataFrame({"ts": pl.Series(times, dtype=pl.Datetime("us", "UTC"))})

    assert frame.select(TIME_RANGE.contains(pl.col("ts")))["ts"].to_list() == [False, True, True, False, False]


def test_range_is_independent_of_the_listing_zone() -> None:
    tokyo_range = EventTimeRange.before(LAST_MODIFIED.astimezone(timezone(timedelta(hours=9))))
    frame = pl.DataFrame({"ts": [TIME_RANGE.end, TIME_RANGE.end + timedelta(microseconds=1)]})

    assert frame.select(tokyo_range.contains(pl.col("ts")))["ts"].to_list() == [True, False]
