"""Maps the columns of an object of fills, and turns its rows into rows of ``twap_fills`` or quarantines them.

The names of the columns are those of the vendor's documentation. Columns were added over time: most are optional, and
unknown ones are accepted. Objects of spot fills contain all fills: rows without a ``twap_id`` are only counted.

Values are never corrected: a row with a value that cannot be read without loss is rejected.
"""

from collections.abc import Mapping

import polars as pl

from twap_pipeline.domain import parsers
from twap_pipeline.domain.data_set import FILL_DECIMALS, TWAP_FILLS
from twap_pipeline.domain.normalized_batch import (
    NOT_A_DECIMAL,
    NOT_A_WALLET,
    NOT_AN_ID,
    NOT_IN_TIME_RANGE,
    NormalizedBatch,
    RowValidation,
    reject_invalid,
    text_validation,
    unknown_column_warnings,
)
from twap_pipeline.domain.payload import printable, to_json_rows
from twap_pipeline.domain.source_schema import NUMBERS, TIMES, ColumnMapping, PolarsTypes, require_types
from twap_pipeline.domain.timestamps import EventTimeRange, to_utc
from twap_pipeline.errors import ObjectInvalidError

REQUIRED_COLUMNS: dict[str, str] = {
    "trade_id": "trade_id",
    "wallet": "address",
    "twap_id": "twap_id",
    "ts": "timestamp",
    "asset": "coin",
    "side": "side",
    "price": "price",
    "size": "size",
}
"""Our column → feed column that every object must have."""

OPTIONAL_COLUMNS: dict[str, str] = {
    "market": "asset_class",
    "dex": "dex",
    "base_symbol": "base_symbol",
    "quote_symbol": "quote_symbol",
    "direction": "direction",
    "realized_pnl": "realized_pnl",
    "start_position": "start_position",
    "fee": "fee",
    "fee_token": "fee_token",
    "builder_fee": "builder_fee",
    "deployer_fee": "deployer_fee",
    "priority_fee": "priority_gas",
    "order_id": "order_id",
    "is_taker": "crossed",
}
"""Our column → feed column that some objects lack; our column is then NULL."""

_SOURCES = REQUIRED_COLUMNS | OPTIONAL_COLUMNS
_KNOWN_UNMAPPED = frozenset(
    {"client_order_id", "builder", "tx_hash", "is_liquidation", "liquidation_mark_px", "liquidation_method"}
)
_IDS = ("trade_id", "twap_id", "order_id")
_TEXTS = ("asset", "market", "dex", "base_symbol", "quote_symbol", "side", "direction", "fee_token")
_REQUIRED_TEXTS = ("asset", "side")
_TEXT_MAX_BYTES = 256
_ABOVE_ZERO = r"^\+?[0-9.]*[1-9]"

ACCEPTED_TYPES: dict[str, PolarsTypes] = {
    **{_SOURCES[column]: (pl.String, *NUMBERS) for column in (*_IDS, *FILL_DECIMALS)},
    **{_SOURCES[column]: (pl.String,) for column in (*_TEXTS, "wallet")},
    _SOURCES["ts"]: TIMES,
    _SOURCES["is_taker"]: (pl.Boolean,),
}
"""Feed column → types that can be read without loss. Type null (all values null) is always accepted."""


def map_columns(key: str, schema: Mapping[str, pl.DataType]) -> ColumnMapping:
    """Return the mapping of an object's columns.

    Raises:
        ObjectInvalidError: A required column is missing or has a type that cannot be read without loss.
    """
    if missing := [name for name in REQUIRED_COLUMNS.values() if name not in schema]:
        raise ObjectInvalidError(key, f"required columns {missing} are missing; found {sorted(schema)}")
    require_types(key, schema, ACCEPTED_TYPES)
    sources = {ours: name for ours, name in _SOURCES.items() if name in schema}
    unknown_columns = tuple(sorted(set(schema) - set(ACCEPTED_TYPES) - _KNOWN_UNMAPPED))
    return ColumnMapping(sources, (_SOURCES["ts"],), uses_creation_time=False, unknown_columns=unknown_columns)


def normalize(
    raw: pl.DataFrame,
    mapping: ColumnMapping,
    units: Mapping[str, str | None],
    time_range: EventTimeRange,
    first_row: int = 0,
) -> NormalizedBatch:
    """Return the normalized, rejected and counted rows of a raw frame; arguments as of `domain.normalize.normalize`."""
    numbered = raw.with_row_index("row:number", first_row)
    fills = numbered.filter(pl.col(mapping.sources["twap_id"]).is_not_null()).rechunk()
    parsed = _parse(fills, mapping, units)
    validations = _row_validations(mapping, time_range)
    valid, rejected, rejections = reject_invalid(
        parsed, validations, lambda row_numbers: to_json_rows(raw[row_numbers - first_row])
    )
    rows = valid[["row_number", *TWAP_FILLS.row_columns]]
    warnings = unknown_column_warnings(mapping.unknown_columns, rows.height, TWAP_FILLS.json_column)
    return NormalizedBatch(rows, rejected, raw.height - fills.height, warnings, rejections)


def _parse(fills: pl.DataFrame, mapping: ColumnMapping, units: Mapping[str, str | None]) -> pl.DataFrame:
    """Return ``row_number``, the row columns, and the mapped raw columns as ``raw:NAME``, for rejection reasons."""
    source, schema = mapping.sources, fills.schema
    time_column = source["ts"]
    values: dict[str, pl.Expr | pl.Series] = {
        **{column: pl.lit(None, pl.String) for column in (*_IDS, *_TEXTS, *FILL_DECIMALS)},
        "is_taker": pl.lit(None, pl.Boolean),
        **{ours: pl.col(name).cast(pl.String) for ours, name in source.items() if ours in _TEXTS},
        **{ours: parsers.integer_text(name, schema[name]) for ours, name in source.items() if ours in _IDS},
        **{ours: parsers.decimal_text(name, schema[name]) for ours, name in source.items() if ours in FILL_DECIMALS},
        "wallet": parsers.parse_wallet(source["wallet"]),
        "ts": to_utc(fills[time_column], units.get(time_column)),
        "other_fields": _other_fields(fills, mapping),
    }
    if "is_taker" in source:
        values["is_taker"] = pl.col(source["is_taker"]).cast(pl.Boolean)
    row_number = pl.col("row:number").cast(pl.Int64).alias("row_number")
    parsed = fills.select(row_number, **{column: values[column] for column in TWAP_FILLS.row_columns})
    return parsed.hstack([printable(fills[name]).alias(f"raw:{name}") for name in source.values()])


def _other_fields(fills: pl.DataFrame, mapping: ColumnMapping) -> pl.Series:
    """Return the columns that are not mapped, as JSON; null if there are none."""
    mapped = {*mapping.sources.values(), "row:number"}
    others = [name for name in fills.columns if name not in mapped]
    return to_json_rows(fills[others]) if others else pl.Series([None], dtype=pl.String).new_from_index(0, fills.height)


def _row_validations(mapping: ColumnMapping, time_range: EventTimeRange) -> list[RowValidation]:
    source = mapping.sources

    def is_read(column: str) -> pl.Expr:
        return pl.col(column).is_not_null() | pl.col(f"raw:{source[column]}").is_null()

    return [
        RowValidation(pl.col("trade_id").is_not_null(), source["trade_id"], NOT_AN_ID),
        RowValidation(pl.col("twap_id").is_not_null(), source["twap_id"], NOT_AN_ID),
        RowValidation(pl.col("wallet").is_not_null(), source["wallet"], NOT_A_WALLET),
        RowValidation(time_range.contains(pl.col("ts")), source["ts"], NOT_IN_TIME_RANGE),
        RowValidation(pl.col("price").is_not_null(), source["price"], NOT_A_DECIMAL),
        RowValidation(
            pl.col("size").str.contains(_ABOVE_ZERO).fill_null(value=False),
            source["size"],
            "is not a finite decimal number above 0",
        ),
        *(RowValidation(pl.col(column).is_not_null(), source[column], "is missing") for column in _REQUIRED_TEXTS),
        *(
            RowValidation(is_read(column), source[column], NOT_AN_ID if column in _IDS else NOT_A_DECIMAL)
            for column in ("order_id", *FILL_DECIMALS)
            if column in OPTIONAL_COLUMNS and column in source
        ),
        *(text_validation(column, source[column], _TEXT_MAX_BYTES) for column in _TEXTS if column in source),
    ]
