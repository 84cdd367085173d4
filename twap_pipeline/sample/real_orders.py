"""Sixteen real orders of the exchange (public data), so that the sample holds figures that anybody can check.

Here belongs the reading of ``real_orders.csv``. Sizes come through to the letter. Each order gives an `activated`
event at its creation, and its ending where that is known.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from twap_pipeline.sample.events import feed_rows
from twap_pipeline.sample.orders import MILLISECOND_NS, SECOND_NS

if TYPE_CHECKING:
    import polars as pl

_NAMES = {
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
    """Return the orders, one row each, all columns text, as the file names them; null where a field is empty."""
    import polars as pl

    return pl.read_csv(files(__package__).joinpath("real_orders.csv").read_bytes(), infer_schema=False)


def real_events() -> pl.DataFrame:
    """Return the events of the real orders as rows of the feed, by time."""
    import polars as pl

    orders = read_real_orders().rename(_NAMES)
    flags, numbers = pl.col("state_reduceOnly", "state_randomize"), pl.col("twap_id", "state_minutes")
    created_ns = pl.col("created_ms").cast(pl.Int64) * MILLISECOND_NS
    final_time = pl.col("final_time").cast(pl.Int64)
    in_seconds = pl.col("final_time").str.len_bytes() == _DIGITS_OF_SECONDS
    orders = orders.with_columns(numbers.cast(pl.Int64), flags == "true", created_ns.alias("created_ns"))
    activated = orders.with_columns(
        pl.col("created_ns").alias("time_ns"),
        pl.lit("0.0").alias("state_executedSz"),
        pl.lit("0.0").alias("state_executedNtl"),
        pl.lit("activated").alias("status"),
        pl.lit(None, pl.String).alias("status_error"),
    )
    ended = orders.filter(pl.col("final_time").is_not_null()).with_columns(
        pl.when(in_seconds).then(final_time * SECOND_NS).otherwise(final_time).alias("time_ns"),
        pl.col("executed_sz").alias("state_executedSz"),
        pl.col("executed_ntl").alias("state_executedNtl"),
        pl.col("final_status").alias("status"),
        pl.col("final_error").alias("status_error"),
    )
    return feed_rows(pl.concat([activated, ended]))
