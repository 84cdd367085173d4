"""An object's bytes end as canonical rows, whatever form the feed gave them; units are decided over all of it."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.ingest.object_reader import PREVIEW_ROWS, ObjectReader, read_ahead
from twap_pipeline.sample.real_orders import read_real_orders, real_events
from twap_pipeline.source.parquet import BATCH_ROWS
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

pytestmark = pytest.mark.unit

WHOLE_MS = datetime(2026, 9, 24, 11, 12, 32, 992_000, tzinfo=UTC)
WHOLE_S = datetime(2026, 9, 24, 11, 12, 32, tzinfo=UTC)
MANY = BATCH_ROWS + 10
"""Rows of an object that takes two batches."""


def reading(rows: "pl.DataFrame | pa.Table") -> ObjectReader:
    data = write_parquet(rows)
    return ObjectReader(listed(data), opened(data))


def rows_of(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rows for batch in reading(rows).batches()])


def rejected_of(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rejected for batch in reading(rows).batches()])


def refusal(rows: "pl.DataFrame | pa.Table") -> str:
    with pytest.raises(ObjectInvalidError) as raised:
        reading(rows)
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
def test_a_time_in_any_encoding_is_the_events_time(time: pl.Series, expected: datetime) -> None:
    assert rows_of(raw_rows(time=time))["ts"].to_list() == [expected]


@pytest.mark.fault("V4")
@pytest.mark.parametrize("column", ["time", "block_time", "state_timestamp"])
@pytest.mark.parametrize("kind", [pl.Int64(), pl.String(), pl.Float64(), pl.Datetime("ms")], ids=str)
def test_two_units_in_one_column_fail_the_object(column: str, kind: pl.DataType) -> None:
    mixed = pl.Series([CREATED_MS, CREATED_MS // 1_000, None]).cast(kind)

    reason = refusal(raw_rows(3, **{column: mixed}))

    assert reason == (
        f"column {column!r}: the unit of its times cannot be decided: it mixes units: 1 values in s, 1 values in ms"
    )


@pytest.mark.fault("V4", control=True)
def test_under_the_most_common_unit_other_times_are_made_up_on_broken_build() -> None:
    with expect_failure(most_common_unit):
        test_two_units_in_one_column_fail_the_object("time", pl.Int64())


@pytest.mark.fault("V4")
def test_the_unit_is_decided_over_the_whole_object_not_by_portion() -> None:
    times = [EVENT_NS] * (MANY - 1)

    assert "1 values in ms" in refusal(raw_rows(MANY, time=[*times, CREATED_MS]))


@pytest.mark.fault("V4")
@pytest.mark.parametrize("column", ["time", "block_time", "state_timestamp"])
def test_a_column_that_fits_no_unit_fails_the_object(column: str) -> None:
    reason = refusal(raw_rows(2, **{column: [5, 6]}))

    assert reason.startswith(f"column {column!r}: the unit of its times cannot be decided: in none of s, ms, µs, ns")


@pytest.mark.fault("V4")
def test_the_unit_of_each_column_is_its_own() -> None:
    row = rows_of(raw_rows(time=None, block_time=EVENT_NS // 1_000, state_timestamp=EVENT_NS // 10**9))

    assert row.select("ts", "started_at").rows() == [(EVENT, WHOLE_S)]


@pytest.mark.fault("V4")
def test_the_same_number_is_another_time_where_the_columns_unit_is_another() -> None:
    # 1.7e12 is 2023-11-14 in milliseconds, and in microseconds 1970.
    assert rows_of(raw_rows(time=1_700_000_000_000))["ts"].to_list() == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)]


def test_a_creation_time_of_zero_has_no_say_in_the_unit() -> None:
    rows = rows_of(raw_rows(3, state_timestamp=[0, CREATED_MS, 0]))

    assert rows["started_at"].to_list() == [None, WHOLE_MS, None]


def test_a_column_of_creation_times_all_zero_is_unknown() -> None:
    assert rows_of(raw_rows(2, state_timestamp=0))["started_at"].to_list() == [None, None]


@pytest.mark.fault("V6")
def test_a_stray_epoch_is_quarantined_and_the_others_are_read() -> None:
    raw = raw_rows(4, time=[EVENT_NS, 0, 2**63 - 1, -EVENT_NS], block_time=None)

    assert rows_of(raw)["row_number"].to_list() == [0]
    assert rejected_of(raw)["row_number"].to_list() == [1, 2, 3]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("after", ["2026-09-25T13:00:00", "2026-09-25T13:00:00.000001"])
def test_the_window_ends_a_day_after_the_objects_last_modified(after: str) -> None:
    found = reading(raw_rows(time=after))

    (batch,) = found.batches()

    assert batch.rows.height == (1 if after.endswith("00") else 0)


def test_an_object_without_any_event_time_is_read_and_flagged() -> None:
    found = reading(raw_rows(2).drop("time", "block_time"))

    (batch,) = found.batches()

    assert batch.rows["ts"].to_list() == [WHOLE_MS, WHOLE_MS]
    assert any("ts is the order's creation" in finding for finding in found.data_warnings)


# Shapes


@pytest.mark.fault("F2")
def test_an_object_without_rows_is_read_and_gives_none() -> None:
    found = reading(raw_rows(0))

    assert sum(batch.rows.height + batch.rejected.height for batch in found.batches()) == 0
    assert not +found.data_warnings


@pytest.mark.fault("F3")
def test_a_missing_column_is_refused_before_any_row_is_read() -> None:
    assert refusal(raw_rows().drop("state_executedSz")).startswith("required columns ['state_executedSz'] are missing")


@pytest.mark.fault("F4")
def test_a_nested_state_is_read_like_a_flat_one() -> None:
    raw = raw_rows(3, state_timestamp=[0, CREATED_MS, CREATED_MS])

    assert rows_of(nested(raw)).drop("raw_payload").equals(rows_of(raw).drop("raw_payload"))


@pytest.mark.fault("F4")
def test_a_nested_state_beside_a_flat_column_of_it_is_refused() -> None:
    both = nested(raw_rows()).with_columns(state_sz=pl.lit("1"))

    assert refusal(both).startswith("columns ['state_sz'] appear more than once")


@pytest.mark.fault("F4")
def test_doubled_columns_are_refused() -> None:
    table = arrow_table(raw_rows())

    assert refusal(table.append_column("status", table["status"])).startswith(
        "columns ['status'] appear more than once"
    )


@pytest.mark.fault("F4")
def test_an_extra_column_is_kept_in_the_payload_and_reported() -> None:
    found = reading(raw_rows(2, vendor_note=["a", None]))

    (batch,) = found.batches()

    assert [json.loads(text)["vendor_note"] for text in batch.rows["raw_payload"]] == ["a", None]
    assert found.data_warnings == {"unknown column 'vendor_note', kept in raw_payload": 2}


@pytest.mark.fault("F4")
@pytest.mark.parametrize("name", ["row_number", "raw_payload", "raw:twap_id", "^twap.*$", "", "*"])
def test_an_extra_column_of_any_name_disturbs_nothing(name: str) -> None:
    rows = rows_of(raw_rows(2, **{name: 1.5}))

    assert rows.drop("raw_payload").equals(rows_of(raw_rows(2)).drop("raw_payload"))
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
def test_an_extra_column_of_any_type_does_not_stop_the_object(array: pa.Array) -> None:
    assert rows_of(arrow_table(raw_rows(), x=array)).height == 1


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("column", "array", "ours", "expected"),
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
def test_a_column_of_another_type_is_read_without_loss(
    column: str, array: pa.Array, ours: str, expected: object
) -> None:
    assert rows_of(arrow_table(raw_rows(), **{column: array}))[ours].to_list() == [expected]


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
def test_a_type_that_would_lose_something_is_refused_by_column(column: str, array: pa.Array) -> None:
    assert refusal(arrow_table(raw_rows(), **{column: array})).startswith(f"column {column!r} has type ")


@pytest.mark.fault("V7")
@pytest.mark.parametrize("status", ['{"error": "\\ud800"}', '{"a":' * 20_000], ids=["surrogate", "deep"])
def test_a_status_that_cannot_be_decoded_does_not_stop_the_object(status: str) -> None:
    raw = raw_rows(2, status=[status, "finished"])

    (batch,) = reading(raw).batches()

    assert batch.rows.height + batch.rejected.height == 2
    assert "finished" in batch.rows["status"].to_list()


@pytest.mark.fault("V7")
@pytest.mark.parametrize("column", ["twap_id", "state_user", "time", "state_coin", "state_sz", "status"])
def test_bytes_that_are_no_text_are_refused_or_quarantined_and_never_another_text(column: str) -> None:
    raw = arrow_table(raw_rows().drop("block_time"), **{column: pa.array([b"\xff\xfe"])})

    try:
        reason = rejected_of(raw)["reason"][0]
    except ObjectInvalidError as error:
        reason = error.reason

    assert column in reason


@pytest.mark.fault("V7")
def test_a_text_of_a_megabyte_is_stored_or_quarantined_whole() -> None:
    long = "a" * 2**20

    (batch,) = reading(raw_rows(2, state_coin=[long, "BTC"], vendor_note=["x", long])).batches()

    assert json.loads(batch.rejected["raw_row"][0])["state_coin"] == long
    assert json.loads(batch.rows["raw_payload"][0])["vendor_note"] == long


def test_the_sixteen_real_orders_come_through_exactly() -> None:
    orders = read_real_orders()
    events = real_events().with_columns(pl.lit(EVENT_TEXT).alias("block_time"))
    data = write_parquet(events)
    found = ObjectReader(listed(data, hours=24 * 365), opened(data))

    (batch,) = found.batches()

    assert batch.rejected.is_empty()
    assert batch.rows.select("twap_id", "wallet", "ts").n_unique() == batch.rows.height == events.height
    final = batch.rows.filter(pl.col("status") != "activated").sort("twap_id")
    expected = orders.filter(pl.col("final_time").is_not_null()).sort("twap_id")
    for ours, theirs in {
        "size_executed": "executed_sz",
        "notional_executed": "executed_ntl",
        "size_requested": "sz",
        "asset": "coin",
        "wallet": "user",
        "status": "final_status",
        "status_error": "final_error",
    }.items():
        assert final[ours].to_list() == expected[theirs].to_list(), ours


# Portions


@pytest.mark.fault("F6")
def test_a_long_object_comes_in_portions_and_no_row_is_lost_or_counted_twice() -> None:
    spoiled = [None if place % 1_000 == 7 else place for place in range(MANY)]
    kept = pl.int_range(MANY, eager=True) % 500 == 3

    batches = list(reading(raw_rows(MANY, twap_id=spoiled, _metadata=kept)).batches())

    numbers = [number for batch in batches for frame in (batch.rows, batch.rejected) for number in frame["row_number"]]
    assert len(batches) == 2
    assert len(numbers) + sum(batch.metadata_rows for batch in batches) == MANY
    assert sorted(numbers) == [place for place in range(MANY) if place % 500 != 3]


def test_an_object_can_be_read_twice_with_the_same_outcome() -> None:
    found = reading(raw_rows(8, status="paused", twap_id=[None, *range(7)]))

    first = [(batch.rows.rows(), batch.rejected.rows()) for batch in found.batches()]
    data_warnings = dict(found.data_warnings)
    second = [(batch.rows.rows(), batch.rejected.rows()) for batch in found.batches()]

    assert second == first
    assert dict(found.data_warnings) == data_warnings == {"unknown status 'paused', stored as it is": 7}


def test_a_glimpse_shows_the_first_rows_and_counts_each_once_however_often_it_is_read() -> None:
    found = reading(raw_rows(8, status=["activated"] * 5 + ["finished", None, "x\0"]))

    for _ in range(2):
        list(found.batches())

    assert found.preview.rows is not None
    assert found.preview.rows["row_number"].to_list() == list(range(PREVIEW_ROWS))
    assert found.preview.by_hour == {11: 7}
    assert found.preview.by_status == {"activated": 5, "finished": 1, "NULL": 1}


def test_a_glimpse_counts_over_all_portions() -> None:
    found = reading(raw_rows(MANY))

    list(found.batches())

    assert found.preview.by_status == {"activated": MANY}


# ObjectReader ahead


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_items_read_ahead_come_all_and_in_order(count: int) -> None:
    assert list(read_ahead(range(count))) == list(range(count))


def test_an_item_that_is_false_or_empty_does_not_end_the_reading() -> None:
    assert list(read_ahead([0, None, "", [], 1])) == [0, None, "", [], 1]


def test_the_next_item_is_made_while_the_caller_holds_this_one() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        yield 2

    ahead = read_ahead(items())

    assert next(ahead) == 1
    assert begun.wait(timeout=30)
    assert list(ahead) == [2]


def test_an_error_comes_after_the_items_before_it_as_itself() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ObjectInvalidError(KEY, "cannot be decoded")

    ahead = read_ahead(items())

    assert next(ahead) == 1
    with pytest.raises(ObjectInvalidError, match="cannot be decoded"):
        next(ahead)


def test_a_caller_that_stops_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    ahead = read_ahead(range(100))
    next(ahead)

    ahead.close()

    assert threading.active_count() == before


@pytest.mark.parametrize("column", ["twap_id", "state_user", "state_sz", "time", "_metadata"])
@pytest.mark.parametrize("strange", [range(3_000, 3_005), range(5), range(2_000), range(1_000, 5_000)], ids=str)
def test_rows_that_go_another_way_may_lie_anywhere_in_a_long_object(column: str, strange: range) -> None:
    """An object is decoded in pieces of a thousand rows; one of which nothing is left must not spoil the others."""
    sound = {"_metadata": None, "state_sz": "1", "state_user": WALLET, "time": EVENT_TEXT, "twap_id": "7"}[column]
    other: object = True if column == "_metadata" else "junk"
    values = pl.Series([other if place in strange else sound for place in range(5_000)])

    (batch,) = reading(raw_rows(5_000, **{column: values})).batches()

    gone = batch.metadata_rows if column == "_metadata" else batch.rejected.height
    assert (gone, batch.rows.height) == (len(strange), 5_000 - len(strange))


@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    "error", [pl.exceptions.ComputeError("by the test"), pl.exceptions.PanicException("by the test")]
)
def test_what_polars_cannot_compute_is_the_objects_failure(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("twap_pipeline.ingest.object_reader.normalize", fail)

    with pytest.raises(ObjectInvalidError, match=f"^{re.escape(KEY)}: rows 0 to 7 cannot be computed: by the test$"):
        list(reading(raw_rows(8)).batches())
