"""Rows of the feed from orders: one row per event, with the columns and encodings of the feed's usual objects.

Unusual formats belong in ``edge_cases``; the assignment of rows to objects belongs in ``layout``.
"""

import polars as pl

from twap_pipeline.sample.orders import BLOCK_NS, MILLISECOND_NS
from twap_pipeline.sample.prices import MICROS

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
"""Columns of a usual object, in order. `twap_id`, `block_number`, `state_minutes` and `state_timestamp` (epoch ms) are
int64. The two flags are bool. All others are text; times are ISO without a zone, with nine fractional digits."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.9f"
UNKNOWN_STATUS = "paused"
"""A status that the exchange does not use; it stands for a future status."""

_BLOCKS_BEFORE_EPOCH = 24_377_000_000


def order_events(orders: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the orders of ``orders.draw_orders``, sorted by time, with `FEED_COLUMNS`.

    An order has an `activated` event and a terminal event. Some orders have `waitingForTrigger` first, or
    `UNKNOWN_STATUS` in between. Executed figures are 0 until the terminal event.
    """
    sized = orders.with_columns(decimal_text(pl.col("size_micros")).alias("state_sz"))
    has_waited, has_paused = pl.col("activated_ns") != pl.col("created_ns"), pl.col("paused_ns").is_not_null()
    terminal = sized.with_columns(
        pl.col("ended_ns").alias("time_ns"),
        decimal_text(pl.col("executed_micros")).alias("state_executedSz"),
        decimal_text(pl.col("notional_micros")).alias("state_executedNtl"),
    )
    return feed_rows(
        pl.concat(
            [
                open_events(sized.filter(has_waited), "created_ns", "waitingForTrigger"),
                open_events(sized, "activated_ns", "activated"),
                open_events(sized.filter(has_paused), "paused_ns", UNKNOWN_STATUS),
                terminal,
            ]
        )
    )


def open_events(orders: pl.DataFrame, time_column: str, status: str) -> pl.DataFrame:
    """Return one event per order, before its end: of that status, at the time of that column, nothing executed."""
    return orders.with_columns(
        pl.col(time_column).alias("time_ns"),
        pl.lit("0.0").alias("state_executedSz"),
        pl.lit("0.0").alias("state_executedNtl"),
        pl.lit(status).alias("status"),
        pl.lit(None, pl.String).alias("status_error"),
    )


def feed_rows(events: pl.DataFrame) -> pl.DataFrame:
    """Return events as rows of the feed, sorted by time.

    Args:
        events: `twap_id`, the `state_*` columns except `state_timestamp`, `created_ns`, `time_ns`, `status`,
            `status_error`. Events of one order and one time are in the order of the order's lifecycle.
    """
    time_text = pl.from_epoch("time_ns", time_unit="ns").dt.strftime(TIME_FORMAT)
    error_json = pl.struct(pl.col("status_error").alias("error")).struct.json_encode()
    return (
        events.sort("time_ns", "twap_id", maintain_order=True)
        .with_columns(
            time_text.alias("time"),
            time_text.alias("block_time"),
            (pl.col("time_ns") // BLOCK_NS - _BLOCKS_BEFORE_EPOCH).alias("block_number"),
            (pl.col("created_ns") // MILLISECOND_NS).alias("state_timestamp"),
            pl.when(pl.col("status") == "error").then(error_json).otherwise("status").alias("status"),
        )
        .select(FEED_COLUMNS)
    )


def decimal_text(micros: pl.Expr) -> pl.Expr:
    """Return millionths as the exchange writes decimals: no trailing zeros, at least one decimal (``13.0``)."""
    whole, remainder = (micros // MICROS).cast(pl.String), (micros % MICROS).cast(pl.String)
    fraction = remainder.str.zfill(6).str.strip_chars_end("0")
    return pl.concat_str(whole, pl.lit("."), pl.when(fraction == "").then(pl.lit("0")).otherwise(fraction))
