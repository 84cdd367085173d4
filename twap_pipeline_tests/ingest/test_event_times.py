"""Times in any encoding are event times; their unit is inferred from the whole object."""

import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline_tests.feed_factories import (
    CREATED_MS,
    EVENT,
    EVENT_NS,
    EVENT_TEXT,
    arrow_table,
    listed,
    opened,
    raw_rows,
    write_parquet,
)
from twap_pipeline_tests.ingest.object_rows import MANY, open_reader, quarantined_rows, read_rows, refusal
from twap_pipeline_tests.mutants import expect_failure, most_common_unit

pytestmark = pytest.mark.unit

WHOLE_MS = datetime(2026, 9, 24, 11, 12, 32, 992_000, tzinfo=UTC)
WHOLE_S = datetime(2026, 9, 24, 11, 12, 32, tzinfo=UTC)


@pytest.mark.fault("V4")
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (pl.Series([EVENT_TEXT]), EVENT),
        (pl.Series([EVENT_TEXT + "Z"]), EVENT),
        (pl.Series([EVENT_NS]), EVENT),
        (pl.Series([str(EVENT_NS)]), EVENT),
        (pl.Series([EVENT_NS // 1_000]), EVENT),
        (pl.Series([EVENT_NS // 10**6]), WHOLE_MS),
        (pl.Series([float(EVENT_NS // 10**6)]), WHOLE_MS),
        (pl.Series([EVENT_NS // 10**9]), WHOLE_S),
        (pl.Series([EVENT_NS // 10**9], dtype=pl.Int32), WHOLE_S),
        (pl.Series([EVENT_NS]).cast(pl.Datetime("ns")), EVENT),
        (pl.Series([EVENT]).cast(pl.Datetime("us", "UTC")), EVENT),
        (pl.Series([EVENT_NS // 10**6]).cast(pl.Datetime("ms")), WHOLE_MS),
        (pl.Series([EVENT_NS // 10**6]).cast(pl.Datetime("ns")), WHOLE_MS),
        (pl.Series([EVENT_NS // 10**6]).cast(pl.Datetime("us")), WHOLE_MS),
        (pl.Series([EVENT_NS // 10**9]).cast(pl.Datetime("ms")), WHOLE_S),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_time_in_any_encoding_is_the_event_time(time: pl.Series, expected: datetime) -> None:
    assert read_rows(raw_rows(time=time))["ts"].to_list() == [expected]


@pytest.mark.fault("V4")
@pytest.mark.parametrize("column", ["time", "block_time", "state_timestamp"])
@pytest.mark.parametrize("kind", [pl.Int64(), pl.String(), pl.Float64(), pl.Datetime("ms")], ids=str)
def test_two_units_in_one_column_fail_the_object(column: str, kind: pl.DataType) -> None:
    mixed = pl.Series([CREATED_MS, CREATED_MS // 1_000, None]).cast(kind)

    reason = refusal(raw_rows(3, **{column: mixed}))

    assert reason == (
        f"column {column!r}: the unit of its times cannot be inferred: it mixes units: 1 values in s, 1 values in ms"
    )


@pytest.mark.fault("V4", control=True)
def test_most_common_unit_mutant_is_detected() -> None:
    with expect_failure(most_common_unit):
        test_two_units_in_one_column_fail_the_object("time", pl.Int64())


@pytest.mark.fault("V4")
def test_unit_is_inferred_from_the_whole_object() -> None:
    times = [EVENT_NS] * (MANY - 1)

    assert "1 values in ms" in refusal(raw_rows(MANY, time=[*times, CREATED_MS]))


@pytest.mark.fault("V4")
@pytest.mark.parametrize("column", ["time", "block_time", "state_timestamp"])
def test_column_that_fits_no_unit_fails_the_object(column: str) -> None:
    reason = refusal(raw_rows(2, **{column: [5, 6]}))

    assert reason.startswith(f"column {column!r}: the unit of its times cannot be inferred: in none of s, ms, µs, ns")


@pytest.mark.fault("V4")
def test_each_column_has_its_own_unit() -> None:
    row = read_rows(raw_rows(time=None, block_time=EVENT_NS // 1_000, state_timestamp=EVENT_NS // 10**9))

    assert row.select("ts", "started_at").rows() == [(EVENT, WHOLE_S)]


@pytest.mark.fault("V4")
def test_number_is_read_in_the_unit_of_its_column() -> None:
    # 1.7e12 is 2023-11-14 in milliseconds, and in microseconds 1970.
    assert read_rows(raw_rows(time=1_700_000_000_000))["ts"].to_list() == [
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    ]


def test_creation_time_of_zero_does_not_affect_the_unit() -> None:
    rows = read_rows(raw_rows(3, state_timestamp=[0, CREATED_MS, 0]))

    assert rows["started_at"].to_list() == [None, WHOLE_MS, None]


def test_column_of_zero_creation_times_is_null() -> None:
    assert read_rows(raw_rows(2, state_timestamp=0))["started_at"].to_list() == [None, None]


@pytest.mark.fault("V6")
def test_time_out_of_range_is_quarantined() -> None:
    raw = raw_rows(6, time=[EVENT_NS, 0, 2**63 - 1, -EVENT_NS, EVENT_NS, EVENT_NS], block_time=None)

    assert read_rows(raw)["row_number"].to_list() == [0, 4, 5]
    assert quarantined_rows(raw)["row_number"].to_list() == [1, 2, 3]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("after", ["2026-09-25T13:00:00", "2026-09-25T13:00:00.000001"])
def test_time_range_ends_a_day_after_last_modified(after: str) -> None:
    reader = open_reader(raw_rows(2, time=[EVENT_TEXT, after]))

    (batch,) = reader.batches()

    assert batch.rows.height == (2 if after.endswith("00") else 1)


@pytest.mark.fault("V6")
@pytest.mark.parametrize("ticks", [2**63 - 1, 2**62, -(2**62)])
@pytest.mark.parametrize("column", ["time", "state_timestamp"])
def test_timestamp_beyond_the_calendar_is_quarantined(column: str, ticks: int) -> None:
    times = pa.array([CREATED_MS, ticks, CREATED_MS], pa.timestamp("ms"))

    rejected = quarantined_rows(arrow_table(raw_rows(3), **{column: times}))

    assert rejected["reason"].to_list() == [f"{column} is not a time within the valid range of this object: {ticks}"]
    assert json.loads(rejected["raw_row"][0])[column] == ticks


@pytest.mark.fault("V6")
@pytest.mark.parametrize("year", [2610, 9999])
def test_int96_time_beyond_2262_is_not_wrapped(year: int) -> None:
    """As nanoseconds, INT96 of 2610-03-05 wraps to August 2025 and would be stored as a valid time."""
    far = pa.array([EVENT, EVENT.replace(year=year, month=3, day=5)], pa.timestamp("us"))
    data = write_parquet(arrow_table(raw_rows(2), time=far), use_deprecated_int96_timestamps=True, store_schema=False)

    (batch,) = ObjectReader(listed(data), opened(data)).batches()

    assert batch.rows["ts"].to_list() == [EVENT]
    assert str(year) in batch.rejected["reason"][0]


def test_object_without_event_time_is_read_with_a_warning() -> None:
    reader = open_reader(raw_rows(2).drop("time", "block_time"))

    (batch,) = reader.batches()

    assert batch.rows["ts"].to_list() == [WHOLE_MS, WHOLE_MS]
    assert any("ts is the order's creation" in finding for finding in reader.data_warnings)
