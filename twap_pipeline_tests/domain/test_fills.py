"""Values of fills: what is stored, what is quarantined, and what is only counted."""

import json
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.fills import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, map_columns, normalize
from twap_pipeline.domain.normalized_batch import NormalizedBatch
from twap_pipeline.domain.timestamps import EventTimeRange
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline_tests.factories import NOON, WALLET
from twap_pipeline_tests.fill_factories import DECIMAL, SCHEMA, fill, fill_frame

pytestmark = pytest.mark.unit

TIME_RANGE = EventTimeRange.before(NOON + timedelta(days=1))


def read(raw: pl.DataFrame, first_row: int = 0) -> NormalizedBatch:
    mapping = map_columns("fills.parquet", dict(raw.schema))
    return normalize(raw, mapping, {"timestamp": "ms"}, TIME_RANGE, first_row)


def with_value(column: str, value: object, dtype: pl.DataType | None = None) -> pl.DataFrame:
    """Return one fill with another value in a column, whose type is that of the value or ``dtype``."""
    return fill_frame(fill(1)).with_columns(pl.Series(column, [value], dtype))


def test_fill_is_read_exactly() -> None:
    row = fill(
        7, price="0.0000012345", size="1234567890.0123456789", realized_pnl=Decimal("-3.5"), priority_gas=Decimal(2)
    )

    batch = read(fill_frame(row))

    (stored,) = batch.rows.iter_rows(named=True)
    others = json.loads(stored.pop("other_fields"))
    assert others == {"tx_hash": "0x" + "0" * 64, "client_order_id": None, "builder": None}
    assert stored == {
        "row_number": 0,
        "trade_id": "7",
        "wallet": WALLET,
        "twap_id": "1",
        "ts": NOON + timedelta(seconds=7),
        "asset": "HYPE",
        "market": "perp",
        "dex": "hyperliquid",
        "base_symbol": "HYPE",
        "quote_symbol": "USDC",
        "side": "buy",
        "direction": "Open Long",
        "price": "0.0000012345",
        "size": "1234567890.0123456789",
        "realized_pnl": "-3.5000000000",
        "start_position": "0.0000000000",
        "fee": "0.0175000000",
        "fee_token": "USDC",
        "builder_fee": None,
        "deployer_fee": None,
        "priority_fee": "2.0000000000",
        "order_id": "9000000007",
        "is_taker": True,
    }
    assert (batch.metadata_rows, batch.data_warnings) == (0, {})


@pytest.mark.parametrize("form", ["0.1", pytest.param(0.1, id="double"), pytest.param(Decimal("0.1"), id="decimal")])
def test_price_of_any_type_keeps_its_digits(form: object) -> None:
    (price,) = read(with_value("price", form)).rows["price"]

    assert Decimal(price) == Decimal("0.1")


def test_wallet_is_stored_in_lower_case() -> None:
    assert read(with_value("address", WALLET.upper().replace("0X", "0x"))).rows["wallet"].to_list() == [WALLET]


def test_uint64_ids_are_stored_as_digits() -> None:
    largest = 2**64 - 1

    assert read(with_value("trade_id", largest, pl.UInt64())).rows["trade_id"].to_list() == [str(largest)]


@pytest.mark.parametrize(
    ("column", "value", "dtype", "reason"),
    [
        ("trade_id", None, pl.UInt64(), "trade_id is not a whole number: NULL"),
        ("trade_id", -1, pl.Int64(), "trade_id is not a whole number: -1"),
        ("twap_id", "1.5", None, "twap_id is not a whole number: 1.5"),
        ("order_id", -1, pl.Int64(), "order_id is not a whole number: -1"),
        ("address", "0x12", None, "address is not 0x and 40 hex digits: 0x12"),
        ("timestamp", None, SCHEMA["timestamp"], "timestamp is not a time within the valid range of this object: NULL"),
        ("price", None, DECIMAL, "price is not a finite decimal number: NULL"),
        ("price", float("nan"), None, "price is not a finite decimal number: NaN"),
        ("size", None, DECIMAL, "size is not a finite decimal number above 0: NULL"),
        ("size", Decimal(0), DECIMAL, "size is not a finite decimal number above 0: 0.0000000000"),
        ("size", "-1", None, "size is not a finite decimal number above 0: -1"),
        ("size", "0e5", None, "size is not a finite decimal number above 0: 0e5"),
        ("fee", float("inf"), None, "fee is not a finite decimal number: inf"),
        ("coin", None, pl.String(), "coin is missing: NULL"),
        ("side", None, pl.String(), "side is missing: NULL"),
        ("direction", "a\0b", None, "direction contains a NUL character or is longer than 256 bytes: a\\0b"),
    ],
)
def test_invalid_value_is_quarantined_with_reason(
    column: str, value: object, dtype: pl.DataType | None, reason: str
) -> None:
    batch = read(with_value(column, value, dtype), first_row=11)

    assert batch.rows.is_empty()
    ((row_number, reasons, raw_row),) = batch.rejected.iter_rows()
    assert (row_number, reasons) == (11, reason)
    assert json.loads(raw_row)["fee_token"] == "USDC"


@pytest.mark.parametrize("size", ["1e-9", "+0.5", ".5", "10"])
def test_size_above_zero_is_stored_verbatim(size: str) -> None:
    assert read(with_value("size", size)).rows["size"].to_list() == [size]


def test_rows_without_twap_id_are_counted_as_metadata() -> None:
    batch = read(fill_frame(fill(1, twap_id=None, size="0"), fill(2), fill(3, twap_id=None)))

    assert batch.rows["trade_id"].to_list() == ["2"]
    assert batch.rows["row_number"].to_list() == [1]
    assert (batch.metadata_rows, batch.rejected.height) == (2, 0)


def test_rejected_row_among_other_rows_is_its_raw_row() -> None:
    batch = read(fill_frame(fill(1, twap_id=None), fill(2), fill(3, size="0"), fill(4)), first_row=100)

    assert batch.rows["row_number"].to_list() == [101, 103]
    assert batch.rejected["row_number"].to_list() == [102]
    assert json.loads(batch.rejected["raw_row"][0])["trade_id"] == 3


def test_object_without_optional_columns_is_read() -> None:
    (stored,) = read(fill_frame(fill(1))[list(REQUIRED_COLUMNS.values())]).rows.iter_rows(named=True)

    assert {name for name, value in stored.items() if value is None} == {*OPTIONAL_COLUMNS, "other_fields"}


@pytest.mark.parametrize("column", REQUIRED_COLUMNS.values())
def test_object_without_required_column_is_refused(column: str) -> None:
    with pytest.raises(ObjectInvalidError, match=rf"required columns \['{column}'\] are missing"):
        read(fill_frame(fill(1)).drop(column))


def test_column_of_other_type_is_refused() -> None:
    with pytest.raises(ObjectInvalidError, match="column 'crossed' has type Int64; expected one of Boolean"):
        read(with_value("crossed", 1))


def test_unknown_column_is_kept_with_a_warning() -> None:
    batch = read(with_value("liquidity", "deep"))

    assert json.loads(batch.rows["other_fields"][0])["liquidity"] == "deep"
    assert batch.data_warnings == {"unknown column 'liquidity', only in other_fields": 1}


def test_mapped_columns_are_the_columns_of_the_table() -> None:
    assert {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, "other_fields"} == {*TWAP_FILLS.row_columns}
