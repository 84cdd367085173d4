"""Functions that change normal sample rows into an unusual form, one per edge case of the feed.

======================  =======================================================================================
edge case               content of the object
======================  =======================================================================================
time_epoch_ms           `time` is int64, epoch milliseconds
time_epoch_ns           `time` is int64, epoch nanoseconds
time_timestamp_ns       `time` is timestamp[ns]
time_timestamp_us_utc   `time` is timestamp[us, tz=UTC]
time_ms_inside_ns       `time` is timestamp[ns] with values in milliseconds, which decode as January 1970
wallets_mixed_case      the second half of each wallet is in upper case
twap_id_text            `twap_id` is text of digits
sizes_decimal128        sizes and notionals are decimal128(38, 8)
sizes_double            sizes and notionals are double; one additional row has a NaN size and is rejected
nested_state            `state` is a struct; there are no `state_*` and no block columns
metadata_rows           `_metadata` is true in two additional rows: one empty, one in the form of an event
text_dictionary         wallet, coin, side and status are dictionary-encoded
columns_null            `state_trigger` and `state_stopPx` of type null
executed_null           one activated row without executed figures
rows_bad                two additional rows, both rejected: one without twap_id, one of 1970
status_struct           `status` is struct<error: string>, in an object of error rows only
error_prefix            errors are ``error: message``; no block columns; `state_timestamp` is 0 before 02:00
======================  =======================================================================================

Other edge cases are defined elsewhere. Republished rows and an object without rows: ``dataset``. Gaps, split hours,
both key date patterns, orders that overlap the sample's ends: ``layout``. An order that fails in the block of its
activation, `waitingForTrigger`, `stopped`, an unknown status: ``orders``.
"""

from collections.abc import Callable

import polars as pl

from twap_pipeline.sample.events import TIME_FORMAT

NOT_AN_ORDER = 1_049_000
"""First twap_id of the rows that must not become events; smaller than the twap_id of every order."""

_SIZES = ("state_sz", "state_executedSz", "state_executedNtl")
_TEXTS = ("state_user", "state_coin", "state_side", "status")
_ERROR = "$.error"


def status_struct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return error rows with `status` as struct<error: string>."""
    return rows.with_columns(pl.struct(pl.col("status").str.json_path_match(_ERROR).alias("error")).alias("status"))


def error_prefix(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in the form of the first days."""
    prefixed = pl.concat_str(pl.lit("error: "), pl.col("status").str.json_path_match(_ERROR))
    is_early = pl.col("time").str.slice(len("2025-08-17T")) < "02"
    return rows.drop("block_time", "block_number").with_columns(
        pl.coalesce(prefixed, "status").alias("status"),
        pl.when(is_early).then(0).otherwise("state_timestamp").alias("state_timestamp"),
    )


def columns_null(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the columns that the feed has since August 2026, of type null."""
    return rows.with_columns(state_trigger=pl.lit(None), state_stopPx=pl.lit(None))


def _time_as(convert: Callable[[pl.Expr], pl.Expr]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.with_columns(convert(pl.col("time").str.to_datetime(TIME_FORMAT, time_unit="ns")))


def _wallets_mixed_case(rows: pl.DataFrame) -> pl.DataFrame:
    wallet = pl.col("state_user")
    return rows.with_columns(pl.concat_str(wallet.str.head(22), wallet.str.tail(20).str.to_uppercase()))


def _sizes_double(rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.with_columns(pl.col(_SIZES).cast(pl.Float64))
    not_a_number = pl.lit(float("nan")).alias("state_sz")
    return pl.concat([rows, rows.head(1).with_columns(_invalid_twap_id(0), not_a_number)])


def _nested_state(rows: pl.DataFrame) -> pl.DataFrame:
    state = [pl.col(name).alias(name.removeprefix("state_")) for name in rows.columns if name.startswith("state_")]
    return rows.select("twap_id", "time", pl.struct(state).alias("state"), "status")


def _metadata_rows(rows: pl.DataFrame) -> pl.DataFrame:
    empty = rows.head(1).select(pl.lit(None, dtype).alias(name) for name, dtype in rows.schema.items())
    event_like = rows.head(1).with_columns(_invalid_twap_id(1))
    is_metadata = pl.Series("_metadata", [False] * rows.height + [True, True])
    return pl.concat([rows, empty, event_like]).with_columns(is_metadata)


def _text_dictionary(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(name).cast(pl.Enum(rows[name].unique().sort())) for name in _TEXTS)


def _executed_null(rows: pl.DataFrame) -> pl.DataFrame:
    is_first = pl.int_range(pl.len()) == (pl.col("status") == "activated").arg_max()
    return rows.with_columns(pl.when(~is_first).then(pl.col("state_executedSz", "state_executedNtl")))


def _rows_bad(rows: pl.DataFrame) -> pl.DataFrame:
    first = rows.head(1)
    without_id = first.with_columns(pl.lit(None, pl.Int64).alias("twap_id"))
    time_1970 = pl.col("time", "block_time").str.replace(r"^\d{4}-\d\d-\d\d", "1970-01-01")
    return pl.concat([rows, without_id, first.with_columns(_invalid_twap_id(2), time_1970)])


def _invalid_twap_id(number: int) -> pl.Expr:
    return pl.lit(NOT_AN_ORDER + number, pl.Int64).alias("twap_id")


EDGE_CASES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "time_epoch_ms": _time_as(lambda time: time.dt.epoch("ms")),
    "time_epoch_ns": _time_as(lambda time: time.dt.epoch("ns")),
    "time_timestamp_ns": _time_as(lambda time: time),
    "time_timestamp_us_utc": _time_as(lambda time: time.dt.cast_time_unit("us").dt.replace_time_zone("UTC")),
    "time_ms_inside_ns": _time_as(lambda time: time.dt.epoch("ms").cast(pl.Datetime("ns"))),
    "wallets_mixed_case": _wallets_mixed_case,
    "twap_id_text": lambda rows: rows.with_columns(pl.col("twap_id").cast(pl.String)),
    "sizes_decimal128": lambda rows: rows.with_columns(pl.col(_SIZES).cast(pl.Decimal(38, 8))),
    "sizes_double": _sizes_double,
    "nested_state": _nested_state,
    "metadata_rows": _metadata_rows,
    "text_dictionary": _text_dictionary,
    "columns_null": columns_null,
    "executed_null": _executed_null,
    "rows_bad": _rows_bad,
}
"""Edge case → function of the rows of an object in the usual form. Each is applied to one ordinary hourly object."""
