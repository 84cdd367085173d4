"""An object's bytes are read as canonical rows, in any accepted form; units are inferred from the whole object."""

import errno
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from unittest.mock import Mock

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.domain.normalize import WARNINGS_MAX
from twap_pipeline.errors import LoadCancelledError, ObjectInvalidError
from twap_pipeline.ingest.object_reader import ObjectReader, read_ahead
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline.storage.loading.status_writer import encode_batch
from twap_pipeline_tests.feed_factories import (
    CREATED_MS,
    EVENT,
    EVENT_NS,
    EVENT_TEXT,
    KEY,
    WALLET,
    arrow_table,
    listed,
    nested,
    opened,
    raw_rows,
    write_parquet,
)
from twap_pipeline_tests.mutants import expect_failure, most_common_unit
from twap_pipeline_tests.real_orders import read_real_orders, real_events

pytestmark = pytest.mark.unit

WHOLE_MS = datetime(2026, 9, 24, 11, 12, 32, 992_000, tzinfo=UTC)
WHOLE_S = datetime(2026, 9, 24, 11, 12, 32, tzinfo=UTC)
MANY = BATCH_ROWS + 10
"""Rows of an object with two batches."""


def open_reader(rows: "pl.DataFrame | pa.Table") -> ObjectReader:
    data = write_parquet(rows)
    return ObjectReader(listed(data), opened(data))


def read_rows(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rows for batch in open_reader(rows).batches()])


def quarantined_rows(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rejected for batch in open_reader(rows).batches()])


def refusal(rows: "pl.DataFrame | pa.Table") -> str:
    with pytest.raises(ObjectInvalidError) as raised:
        open_reader(rows)
    assert raised.value.key == KEY
    return raised.value.reason


# Times


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


# Objects whose rows are rejected for one reason


@pytest.mark.fault("V11")
@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("time", "20.08.2025 01:00", "time is not a time within the valid range of this object: 20.08.2025 01:00"),
        ("time", "1755651605.123456", "time is not a time within the valid range of this object: 1755651605.123456"),
        ("state_user", "bcb881aa", "state_user is not 0x and 40 hex digits: bcb881aa"),
        ("state_sz", "108,36", "state_sz is not a finite decimal number: 108,36"),
        ("state_minutes", "PT90M", "state_minutes is not a whole number of minutes: PT90M"),
    ],
)
@pytest.mark.parametrize("rejected", [3, 4])
def test_most_rows_rejected_for_one_reason_fail(column: str, value: str, reason: str, rejected: int) -> None:
    valid = raw_rows(1)[column][0]
    values = [str(valid)] * (4 - rejected) + [value] * rejected
    reader = open_reader(raw_rows(5, **{column: [*values, value]}, _metadata=[None] * 4 + [True]))

    with pytest.raises(ObjectInvalidError) as raised:
        list(reader.batches())

    assert raised.value.reason.startswith(
        f"{rejected} of 4 rows cannot be read for the same reason, the first one is row {4 - rejected}: {reason}; "
    )


@pytest.mark.fault("V11")
def test_half_of_the_rows_rejected_are_quarantined() -> None:
    assert quarantined_rows(raw_rows(4, time=["x", "x", EVENT_TEXT, EVENT_TEXT])).height == 2


@pytest.mark.fault("V11")
def test_rows_rejected_for_different_reasons_are_quarantined() -> None:
    raw = raw_rows(3, time=["x", EVENT_TEXT, EVENT_TEXT], twap_id=[1, None, 2])

    assert quarantined_rows(raw).height == 2


@pytest.mark.fault("V11")
def test_object_of_metadata_rows_only_is_read() -> None:
    assert read_rows(raw_rows(2, time="x", _metadata=True)).is_empty()


@pytest.mark.fault("V11")
def test_rejected_rows_are_counted_over_all_batches() -> None:
    """The first batch is sound: only the whole object shows that most rows are rejected."""
    times = pl.Series([EVENT_TEXT] * BATCH_ROWS + ["x"] * (BATCH_ROWS + 1))

    with pytest.raises(ObjectInvalidError, match=f"{BATCH_ROWS + 1} of {2 * BATCH_ROWS + 1} rows .* row {BATCH_ROWS}:"):
        list(open_reader(raw_rows(2 * BATCH_ROWS + 1, time=times)).batches())


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


# Shapes


@pytest.mark.fault("F2")
def test_object_without_rows_gives_no_rows() -> None:
    reader = open_reader(raw_rows(0))

    assert sum(batch.rows.height + batch.rejected.height for batch in reader.batches()) == 0
    assert not +reader.data_warnings


@pytest.mark.fault("F3")
def test_missing_column_is_refused_before_reading_rows() -> None:
    assert refusal(raw_rows().drop("state_executedSz")).startswith("required columns ['state_executedSz'] are missing")


@pytest.mark.fault("F4")
def test_nested_state_is_read_like_a_flat_one() -> None:
    raw = raw_rows(3, state_timestamp=[0, CREATED_MS, CREATED_MS])

    assert read_rows(nested(raw)).drop("raw_payload").equals(read_rows(raw).drop("raw_payload"))


@pytest.mark.fault("F4")
def test_nested_state_with_a_flat_duplicate_is_refused() -> None:
    both = nested(raw_rows()).with_columns(state_sz=pl.lit("1"))

    assert refusal(both).startswith("columns ['state_sz'] appear more than once")


@pytest.mark.fault("F4")
def test_duplicate_columns_are_refused() -> None:
    table = arrow_table(raw_rows())

    assert refusal(table.append_column("status", table["status"])).startswith(
        "columns ['status'] appear more than once"
    )


@pytest.mark.fault("F4")
def test_unknown_column_is_kept_in_the_payload_and_reported() -> None:
    reader = open_reader(raw_rows(2, vendor_note=["a", None]))

    (batch,) = reader.batches()

    assert [json.loads(text)["vendor_note"] for text in batch.rows["raw_payload"]] == ["a", None]
    assert reader.data_warnings == {"unknown column 'vendor_note', only in raw_payload": 2}


@pytest.mark.fault("F4")
@pytest.mark.parametrize("name", ["row_number", "raw_payload", "raw:twap_id", "^twap.*$", "", "*"])
def test_unknown_column_of_any_name_is_harmless(name: str) -> None:
    rows = read_rows(raw_rows(2, **{name: 1.5}))

    assert rows.drop("raw_payload").equals(read_rows(raw_rows(2)).drop("raw_payload"))
    assert json.loads(rows["raw_payload"][1])[name] == 1.5


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"\xff\xfe"], pa.binary(2)),
        pa.array([b"\xff\xfe"]),
        pa.array([b"0123456789abcdef"], pa.uuid()),
        pa.array([[b"x"]]),
        pa.array([1], pa.timestamp("us", "+05:30")),
    ],
    ids=lambda array: str(array.type),
)
def test_unknown_column_of_any_type_is_harmless(array: pa.Array) -> None:
    assert read_rows(arrow_table(raw_rows(), x=array)).height == 1


@pytest.mark.fault("F9")
def test_unknown_column_that_cannot_be_read_is_reported() -> None:
    repeated = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
    reader = open_reader(arrow_table(raw_rows(2), x=repeated))

    (batch,) = reader.batches()

    assert batch.rows.height == 2
    (lost,) = (warning for warning in reader.data_warnings if "lost" in warning)
    assert lost.startswith("unknown column 'x': values are lost, because it cannot be read without loss: ")
    assert reader.data_warnings[lost] == 2


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("column", "array", "name", "expected"),
    [
        ("twap_id", pa.array([2_250_263.0]), "twap_id", "2250263"),
        ("twap_id", pa.array(["007"]), "twap_id", "7"),
        ("twap_id", pa.array([2**64 - 1], pa.uint64()), "twap_id", str(2**64 - 1)),
        ("twap_id", pa.array([Decimal(7)], pa.decimal256(60, 0)), "twap_id", "7"),
        ("state_user", pa.array([WALLET.upper().encode()]), "wallet", WALLET),
        ("state_user", pa.array([WALLET]).dictionary_encode(), "wallet", WALLET),
        ("state_sz", pa.array([Decimal("1" * 60 + ".50")], pa.decimal256(70, 2)), "size_requested", "1" * 60 + ".50"),
        ("state_sz", pa.array([Decimal("108.360")], pa.decimal128(38, 3)), "size_requested", "108.360"),
        ("state_sz", pa.array([0.1]), "size_requested", "0.1"),
        ("state_sz", pa.array([108]), "size_requested", "108"),
        ("state_sz", pa.nulls(1), "size_requested", None),
        ("state_minutes", pa.array(["10080"]), "duration_minutes", 10_080),
        ("status", pa.array(["finished"]).dictionary_encode(), "status", "finished"),
        ("status", pa.array([{"error": "why"}]), "status_error", "why"),
        ("state_reduceOnly", pa.nulls(1), "reduce_only", None),
    ],
    ids=str,
)
def test_column_of_another_type_is_read_without_loss(column: str, array: pa.Array, name: str, expected: object) -> None:
    assert read_rows(arrow_table(raw_rows(), **{column: array}))[name].to_list() == [expected]


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("time", pa.array([20_000], pa.date32())),
        ("state_sz", pa.array([True])),
        ("state_user", pa.array([1])),
        ("state_reduceOnly", pa.array(["true"])),
        ("status", pa.array([["activated"]])),
    ],
    ids=str,
)
def test_lossy_column_type_is_refused(column: str, array: pa.Array) -> None:
    assert refusal(arrow_table(raw_rows(), **{column: array})).startswith(f"column {column!r} has type ")


@pytest.mark.fault("V7")
@pytest.mark.parametrize("status", ['{"error": "\\ud800"}', '{"a":' * 20_000], ids=["surrogate", "deep"])
def test_undecodable_status_does_not_fail_the_object(status: str) -> None:
    raw = raw_rows(2, status=[status, "finished"])

    (batch,) = open_reader(raw).batches()

    assert batch.rows.height + batch.rejected.height == 2
    assert "finished" in batch.rows["status"].to_list()


@pytest.mark.fault("V7")
@pytest.mark.parametrize("column", ["twap_id", "state_user", "time", "state_coin", "state_sz", "status"])
def test_bytes_that_are_not_utf8_are_refused_or_quarantined(column: str) -> None:
    raw = arrow_table(raw_rows().drop("block_time"), **{column: pa.array([b"\xff\xfe"])})

    try:
        reason = quarantined_rows(raw)["reason"][0]
    except ObjectInvalidError as error:
        reason = error.reason

    assert column in reason


@pytest.mark.fault("V7")
def test_text_of_a_megabyte_is_kept_whole() -> None:
    long = "a" * 2**20

    (batch,) = open_reader(raw_rows(2, state_coin=[long, "BTC"], vendor_note=["x", long])).batches()

    assert json.loads(batch.rejected["raw_row"][0])["state_coin"] == long
    assert json.loads(batch.rows["raw_payload"][0])["vendor_note"] == long


def test_real_orders_are_read_exactly() -> None:
    orders = read_real_orders()
    events = real_events().with_columns(pl.lit(EVENT_TEXT).alias("block_time"))
    data = write_parquet(events)
    reader = ObjectReader(listed(data, hours=24 * 365), opened(data))

    (batch,) = reader.batches()

    assert batch.rejected.is_empty()
    assert batch.rows.select("twap_id", "wallet", "ts").n_unique() == batch.rows.height == events.height
    final = batch.rows.filter(pl.col("status") != "activated").sort("twap_id")
    expected = orders.filter(pl.col("final_time").is_not_null()).sort("twap_id")
    for name, source_name in {
        "size_executed": "executed_sz",
        "notional_executed": "executed_ntl",
        "size_requested": "sz",
        "asset": "coin",
        "wallet": "user",
        "status": "final_status",
        "status_error": "final_error",
    }.items():
        assert final[name].to_list() == expected[source_name].to_list(), name


# Batches


@pytest.mark.fault("F6")
def test_batches_contain_every_row_once() -> None:
    twap_ids = [None if number % 1_000 == 7 else number for number in range(MANY)]
    kept = pl.int_range(MANY, eager=True) % 500 == 3

    batches = list(open_reader(raw_rows(MANY, twap_id=twap_ids, _metadata=kept)).batches())

    numbers = [number for batch in batches for frame in (batch.rows, batch.rejected) for number in frame["row_number"]]
    assert len(batches) == 2
    assert len(numbers) + sum(batch.metadata_rows for batch in batches) == MANY
    assert sorted(numbers) == [number for number in range(MANY) if number % 500 != 3]


def test_object_read_twice_gives_the_same_batches() -> None:
    reader = open_reader(raw_rows(8, status="paused", twap_id=[None, *range(7)]))

    first = [(batch.rows.rows(), batch.rejected.rows()) for batch in reader.batches()]
    data_warnings = dict(reader.data_warnings)
    second = [(batch.rows.rows(), batch.rejected.rows()) for batch in reader.batches()]

    assert second == first
    assert dict(reader.data_warnings) == data_warnings == {"unknown status 'paused', stored verbatim": 7}


# Data warnings


@pytest.mark.fault("F8")
@pytest.mark.parametrize("batch_rows", [7, 1_000])
def test_many_unknown_statuses_give_few_warnings(batch_rows: int) -> None:
    """An object of 300,000 statuses took 100 seconds, and its data warnings exceeded the size of a jsonb value."""
    statuses = [f"s{number:04}" + "z" * 1_000 for number in range(500)]
    data = write_parquet(raw_rows(501, status=[*statuses, "finished"]))
    reader = ObjectReader(listed(data), opened(data), batch_rows)

    assert sum(batch.rows.height for batch in reader.batches()) == 501
    assert len(reader.data_warnings) == WARNINGS_MAX + 1
    assert sum(reader.data_warnings.values()) == 500
    assert reader.data_warnings["further unknown statuses, stored verbatim"] == 480
    assert f"unknown status 's0000{'z' * 195}'... (1005 characters), stored verbatim" in reader.data_warnings
    assert max(map(len, reader.data_warnings)) < 300


@pytest.mark.fault("F8")
def test_many_unknown_columns_give_few_warnings() -> None:
    reader = open_reader(raw_rows(2, **{f"x{number:03}": 1 for number in range(100)}))

    list(reader.batches())

    assert len(reader.data_warnings) == WARNINGS_MAX + 1
    assert reader.data_warnings["80 further unknown columns, only in raw_payload"] == 2


# Reading ahead


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_read_ahead_yields_all_items_in_order(count: int) -> None:
    assert list(read_ahead(range(count))) == list(range(count))


def test_read_ahead_yields_falsy_items() -> None:
    assert list(read_ahead([0, None, "", [], 1])) == [0, None, "", [], 1]


def test_read_ahead_computes_the_next_item_concurrently() -> None:
    started = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        started.set()
        yield 2

    ahead = read_ahead(items())

    assert next(ahead) == 1
    assert started.wait(timeout=30)
    assert list(ahead) == [2]


def test_read_ahead_raises_an_error_in_its_position() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ObjectInvalidError(KEY, "cannot be decoded")

    ahead = read_ahead(items())

    assert next(ahead) == 1
    with pytest.raises(ObjectInvalidError, match="cannot be decoded"):
        next(ahead)


def test_closing_read_ahead_ends_its_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(range(100))
    next(ahead)

    ahead.close()

    assert threading.active_count() == before


@pytest.mark.parametrize("column", ["twap_id", "state_user", "state_sz", "time", "_metadata"])
@pytest.mark.parametrize("excluded", [range(3_000, 3_005), range(5), range(2_000), range(2_600, 5_000)], ids=str)
def test_excluded_rows_may_be_anywhere_in_an_object(column: str, excluded: range) -> None:
    """An object is decoded in chunks of a thousand rows; a chunk without valid rows must not affect the others."""
    valid = {"_metadata": None, "state_sz": "1", "state_user": WALLET, "time": EVENT_TEXT, "twap_id": "7"}[column]
    other: object = True if column == "_metadata" else "junk"
    values = pl.Series([other if number in excluded else valid for number in range(5_000)])

    (batch,) = open_reader(raw_rows(5_000, **{column: values})).batches()

    excluded_rows = batch.metadata_rows if column == "_metadata" else batch.rejected.height
    assert (excluded_rows, batch.rows.height) == (len(excluded), 5_000 - len(excluded))


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    "error",
    [
        pl.exceptions.ComputeError("by the\n test"),
        pl.exceptions.PanicException("by the test"),
        pa.ArrowNotImplementedError("by the test"),
        pa.ArrowMemoryError("by the test"),
        ValueError("by the test"),
        OverflowError("by the test"),
        RecursionError("by the test"),
        InvalidOperation("by the test"),
        json.JSONDecodeError("by the test", "", 0),
        OSError("by the test"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("twap_pipeline.ingest.object_reader.normalize", "rows 0 to 7 cannot be computed"),
        ("twap_pipeline.ingest.object_reader.count_matches_by_unit", "cannot be read"),
        ("twap_pipeline.source.parquet._decoded_bytes", "cannot be decoded"),
        ("twap_pipeline.storage.loading.status_writer.copy_text", "cannot be encoded"),
    ],
)
def test_any_exception_fails_the_object_by_name(
    target: str, problem: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, Mock(side_effect=error))

    def read_and_encode() -> None:
        reader = open_reader(raw_rows(8))
        for batch in reader.batches():
            encode_batch(reader.ref, batch)

    with pytest.raises(ObjectInvalidError) as raised:
        read_and_encode()

    assert raised.value.key == KEY
    assert raised.value.reason.startswith(f"{problem}: {type(error).__name__}: by the test")


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOSPC, "No space left on device"), LoadCancelledError(""), KeyboardInterrupt()],
)
def test_error_that_is_not_the_objects_is_raised_unchanged(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twap_pipeline.ingest.object_reader.normalize", Mock(side_effect=error))

    with pytest.raises(type(error)) as raised:
        list(open_reader(raw_rows(8)).batches())

    assert raised.value is error


@pytest.mark.fault("F7")
@pytest.mark.parametrize("column", ["sz", "user", "note"])
def test_field_with_extension_metadata_is_read_as_its_storage(column: str) -> None:
    """A nested field with an unknown extension name is read by polars as a type that it cannot cast."""
    raw = nested(raw_rows(2, state_note="x"))
    state = arrow_table(raw)["state"].combine_chunks()
    metadata = {"ARROW:extension:name": "vendor.type", "ARROW:extension:metadata": ""}
    fields = [field.with_metadata(metadata) if field.name == column else field for field in state.type]
    annotated = pa.StructArray.from_arrays(state.flatten(), fields=fields)

    assert read_rows(arrow_table(raw, state=annotated)).equals(read_rows(raw))
