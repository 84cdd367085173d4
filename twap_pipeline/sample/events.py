"""Orders → the rows that the feed holds of them: one per event, columns and encodings as the feed mostly has them.

Here belongs the usual form of a row. Its unusual forms are ``edge_cases``; which object holds it is ``layout``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twap_pipeline.sample.orders import BLOCK_NS, MILLISECOND_NS
from twap_pipeline.sample.prices import MICROS

if TYPE_CHECKING:
    import polars as pl

FEED_COLUMNS: tuple[str, ...] = (
    "twap_id",
    "time",
    "block_time",
    "block_number",
    "state_user",
    "state_coin",
    "state_side",
    "state_sz",
    "state_executedSz",
    "state_executedNtl",
    "state_minutes",
    "state_reduceOnly",
    "state_randomize",
    "state_timestamp",
    "status",
)
"""Columns of an ordinary file, in order: `twap_id`, `block_number`, `state_minutes` and `state_timestamp` (epoch ms)
int64, the two flags bool, all others text; times ISO without a zone, nine fractional digits."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.9f"
UNKNOWN_STATUS = "paused"
"""A status that the exchange has never used, to stand for the next one that it invents."""

_BLOCKS_BEFORE_EPOCH = 24_377_000_000


def order_events(orders: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the orders of ``orders.draw_orders``, by time.

    An order gives `activated` and its ending; some give `waitingForTrigger` before, or a status unknown to the
    pipeline between. Executed figures stay 0 until the ending. Columns `FEED_COLUMNS`.
    """
    import polars as pl

    priced = orders.with_columns(decimal_text(pl.col("size_micros")).alias("state_sz"))
    waited, paused = pl.col("activated_ns") != pl.col("created_ns"), pl.col("paused_ns").is_not_null()
    return feed_rows(
        pl.concat(
            [
                _open(priced.filter(waited), "created_ns", "waitingForTrigger"),
                _open(priced, "activated_ns", "activated"),
                _open(priced.filter(paused), "paused_ns", UNKNOWN_STATUS),
                priced.with_columns(
                    pl.col("ended_ns").alias("time_ns"),
                    decimal_text(pl.col("executed_micros")).alias("state_executedSz"),
                    decimal_text(pl.col("notional_micros")).alias("state_executedNtl"),
                ),
            ]
        )
    )


def feed_rows(events: pl.DataFrame) -> pl.DataFrame:
    """Return events as rows of the feed, by time.

    Args:
        events: `twap_id`, the `state_*` columns but `state_timestamp`, `created_ns`, `time_ns`, `status`,
            `status_error`; events of one order and one time in the order of its life.
    """
    import polars as pl

    time_text = pl.from_epoch("time_ns", time_unit="ns").dt.strftime(TIME_FORMAT)
    return (
        events.sort("time_ns", "twap_id", maintain_order=True)
        .with_columns(
            time_text.alias("time"),
            time_text.alias("block_time"),
            (pl.col("time_ns") // BLOCK_NS - _BLOCKS_BEFORE_EPOCH).alias("block_number"),
            (pl.col("created_ns") // MILLISECOND_NS).alias("state_timestamp"),
            error_text(pl.col("status"), pl.col("status_error")).alias("status"),
        )
        .select(FEED_COLUMNS)
    )


def decimal_text(micros: pl.Expr) -> pl.Expr:
    """Return millionths as the exchange writes decimals: no trailing zero but one after the point (``13.0``)."""
    import polars as pl

    whole, rest = (micros // MICROS).cast(pl.String), (micros % MICROS).cast(pl.String)
    fraction = rest.str.zfill(6).str.strip_chars_end("0")
    return pl.concat_str(whole, pl.lit("."), pl.when(fraction == "").then(pl.lit("0")).otherwise(fraction))


def error_text(status: pl.Expr, message: pl.Expr) -> pl.Expr:
    """Return the status as the feed mostly writes it: JSON text of ``{"error": message}`` for an error."""
    import polars as pl

    as_json = pl.struct(message.alias("error")).struct.json_encode()
    return pl.when(status == "error").then(as_json).otherwise(status)


def _open(orders: pl.DataFrame, time_column: str, status: str) -> pl.DataFrame:
    import polars as pl

    return orders.with_columns(
        pl.col(time_column).alias("time_ns"),
        pl.lit("0.0").alias("state_executedSz"),
        pl.lit("0.0").alias("state_executedNtl"),
        pl.lit(status).alias("status"),
        pl.lit(None, pl.String).alias("status_error"),
    )
