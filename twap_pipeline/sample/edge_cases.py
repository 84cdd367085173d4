"""Every edge_case that an object of the feed can have, each a function: its usual rows in, odd rows out.

======================  ==============================================================================
edge_case                  what the object has
======================  ==============================================================================
time_epoch_ms           `time` is int64, epoch milliseconds
time_epoch_ns           `time` is int64, epoch nanoseconds
time_timestamp_ns       `time` is timestamp[ns]
time_timestamp_us_utc   `time` is timestamp[us, tz=UTC]
time_ms_inside_ns       `time` is timestamp[ns] but holds milliseconds: reads as January 1970
wallets_mixed_case      half of each wallet's digits in upper case
twap_id_text            `twap_id` is text of digits
sizes_decimal128        sizes and notionals are decimal128(38, 8)
sizes_double            they are double; one row more has a NaN size, to be quarantined
nested_state            `state` is a struct; no `state_*`, no block columns
metadata_rows             `_metadata`, true in two rows more: one empty, one that looks like an event
text_dictionary         wallet, coin, side and status are dictionary-encoded
columns_null            `state_trigger` and `state_stopPx` of type null
executed_null           one activated row without executed figures
rows_bad                one row more without twap_id, one more of 1970, both to be quarantined
status_struct           `status` is struct<error: string>, in an object of errors only
error_prefix            errors are ``error: message``; no block columns; `state_timestamp` 0 before 02:00
======================  ==============================================================================

Oddities between objects (re-published rows, an object without rows) are ``contents``' work, those of time (gaps,
parts, the two key_date_patterns, orders that overlap the sample's ends) ``layout``'s, those of an order's life
(failing in the block of its activation, `waitingForTrigger`, `stopped`, an unknown status) ``orders``'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twap_pipeline.sample.events import TIME_FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

NOT_AN_ORDER = 1_049_000
"""Ids from here, below all orders' ids, are those of rows that must not become events."""

_SIZES = ("state_sz", "state_executedSz", "state_executedNtl")
_TEXTS = ("state_user", "state_coin", "state_side", "status")
_ERROR = "$.error"


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """A form that an object can have.

    Args:
        name: As in this module's table.
        apply: Rows in their usual form → the object's rows.
        rows_quarantined: Rows added that a reader must refuse.
        rows_metadata: Rows added that are the vendor's own.
    """

    name: str
    apply: Callable[[pl.DataFrame], pl.DataFrame]
    rows_quarantined: int = 0
    rows_metadata: int = 0


def status_struct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of errors with `status` as struct<error: string>."""
    import polars as pl

    return rows.with_columns(pl.struct(pl.col("status").str.json_path_match(_ERROR).alias("error")).alias("status"))


def error_prefix(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows as the first days have them: no block columns, ``error: message``, creations lost at night."""
    import polars as pl

    prefixed = pl.concat_str(pl.lit("error: "), pl.col("status").str.json_path_match(_ERROR))
    early = pl.col("time").str.slice(len("2025-08-17T")) < "02"
    return rows.drop("block_time", "block_number").with_columns(
        pl.coalesce(prefixed, "status").alias("status"),
        pl.when(early).then(0).otherwise("state_timestamp").alias("state_timestamp"),
    )


def columns_null(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the columns that came about August 2026, all null and of type null."""
    import polars as pl

    return rows.with_columns(state_trigger=pl.lit(None), state_stopPx=pl.lit(None))


def _time_as(convert: Callable[[pl.Expr], pl.Expr]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def apply(rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return rows.with_columns(convert(pl.col("time").str.to_datetime(TIME_FORMAT, time_unit="ns")))

    return apply


def _ms_inside_ns(time: pl.Expr) -> pl.Expr:
    import polars as pl

    return time.dt.epoch("ms").cast(pl.Datetime("ns"))


def _wallets_mixed_case(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    wallet = pl.col("state_user")
    return rows.with_columns(pl.concat_str(wallet.str.head(22), wallet.str.tail(20).str.to_uppercase()))


def _twap_id_text(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.col("twap_id").cast(pl.String))


def _sizes_decimal128(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.col(_SIZES).cast(pl.Decimal(38, 8)))


def _sizes_double(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    rows = rows.with_columns(pl.col(_SIZES).cast(pl.Float64))
    not_a_number = pl.lit(float("nan")).alias("state_sz")
    return pl.concat([rows, rows.head(1).with_columns(_not_an_order(0), not_a_number)])


def _nested_state(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    state = [pl.col(name).alias(name.removeprefix("state_")) for name in rows.columns if name.startswith("state_")]
    return rows.select("twap_id", "time", pl.struct(state).alias("state"), "status")


def _bookkeeping(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    empty = rows.head(1).select(pl.lit(None, dtype).alias(name) for name, dtype in rows.schema.items())
    like_an_event = rows.head(1).with_columns(_not_an_order(1))
    parts = {False: rows, True: pl.concat([empty, like_an_event])}
    return pl.concat(part.with_columns(pl.lit(mark).alias("_metadata")) for mark, part in parts.items())


def _text_dictionary(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.col(name).cast(pl.Enum(rows[name].unique().sort())) for name in _TEXTS)


def _executed_null(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    first = pl.int_range(pl.len()) == (pl.col("status") == "activated").arg_max()
    return rows.with_columns(pl.when(~first).then(pl.col("state_executedSz", "state_executedNtl")))


def _rows_bad(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    one = rows.head(1)
    without_id = one.with_columns(pl.lit(None, pl.Int64).alias("twap_id"))
    of_1970 = one.with_columns(
        _not_an_order(2), pl.col("time", "block_time").str.replace(r"^\d{4}-\d\d-\d\d", "1970-01-01")
    )
    return pl.concat([rows, without_id, of_1970])


def _not_an_order(number: int) -> pl.Expr:
    import polars as pl

    return pl.lit(NOT_AN_ORDER + number, pl.Int64).alias("twap_id")


EDGE_CASES: tuple[EdgeCase, ...] = (
    EdgeCase("time_epoch_ms", _time_as(lambda time: time.dt.epoch("ms"))),
    EdgeCase("time_epoch_ns", _time_as(lambda time: time.dt.epoch("ns"))),
    EdgeCase("time_timestamp_ns", _time_as(lambda time: time)),
    EdgeCase("time_timestamp_us_utc", _time_as(lambda time: time.dt.cast_time_unit("us").dt.replace_time_zone("UTC"))),
    EdgeCase("time_ms_inside_ns", _time_as(_ms_inside_ns)),
    EdgeCase("wallets_mixed_case", _wallets_mixed_case),
    EdgeCase("twap_id_text", _twap_id_text),
    EdgeCase("sizes_decimal128", _sizes_decimal128),
    EdgeCase("sizes_double", _sizes_double, rows_quarantined=1),
    EdgeCase("nested_state", _nested_state),
    EdgeCase("metadata_rows", _bookkeeping, rows_metadata=2),
    EdgeCase("text_dictionary", _text_dictionary),
    EdgeCase("columns_null", columns_null),
    EdgeCase("executed_null", _executed_null),
    EdgeCase("rows_bad", _rows_bad, rows_quarantined=2),
)
"""The edge_cases that one ordinary hour each is given."""
