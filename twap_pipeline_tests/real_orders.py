"""Sixteen real orders of the exchange (public data), so that tests contain figures that can be verified.

An order has an `activated` event at its creation and, where the file names it, a terminal event. Sizes stay verbatim.
"""

from pathlib import Path

import polars as pl

from twap_pipeline.sample.events import feed_rows, open_events
from twap_pipeline.sample.orders import MILLISECOND_NS, SECOND_NS

REAL_ORDERS = Path(__file__).with_suffix(".csv")

_FEED_NAMES = {
    "user": "state_user",
    "coin": "state_coin",
    "side": "state_side",
    "sz": "state_sz",
    "minutes": "state_minutes",
    "reduce_only": "state_reduceOnly",
    "randomize": "state_randomize",
}
_DIGITS_OF_SECONDS = 10


def read_real_orders() -> pl.DataFrame:
    """Return ``real_orders.csv``: one row per order, all columns text, null where a field is empty."""
    return pl.read_csv(REAL_ORDERS, infer_schema=False)


def real_events() -> pl.DataFrame:
    """Return the events of the real orders as rows of the feed, sorted by time."""
    flags, numbers = pl.col("state_reduceOnly", "state_randomize"), pl.col("twap_id", "state_minutes")
    created_ns = pl.col("created_ms").cast(pl.Int64) * MILLISECOND_NS
    final_time = pl.col("final_time").cast(pl.Int64)
    is_in_seconds = pl.col("final_time").str.len_bytes() == _DIGITS_OF_SECONDS
    orders = (
        read_real_orders()
        .rename(_FEED_NAMES)
        .with_columns(numbers.cast(pl.Int64), flags == "true", created_ns.alias("created_ns"))
    )
    terminal = orders.filter(pl.col("final_time").is_not_null()).with_columns(
        pl.when(is_in_seconds).then(final_time * SECOND_NS).otherwise(final_time).alias("time_ns"),
        pl.col("executed_sz").alias("state_executedSz"),
        pl.col("executed_ntl").alias("state_executedNtl"),
        pl.col("final_status").alias("status"),
        pl.col("final_error").alias("status_error"),
    )
    return feed_rows(pl.concat([open_events(orders, "created_ns", "activated"), terminal]))
