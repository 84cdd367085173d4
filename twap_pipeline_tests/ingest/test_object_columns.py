"""Columns of an object: missing, unknown or duplicate, flat or nested, of any type."""

import json
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline_tests.feed_factories import (
    CREATED_MS,
    EVENT_TEXT,
    WALLET,
    arrow_table,
    listed,
    nested,
    opened,
    raw_rows,
    write_parquet,
)
from twap_pipeline_tests.ingest.object_rows import open_reader, quarantined_rows, read_rows, refusal
from twap_pipeline_tests.real_orders import read_real_orders, real_events

pytestmark = pytest.mark.unit


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
