"""Lists orders without a terminal event, and estimates the volume that they will still execute.

The feed reports executed sizes only when an order ends. The estimates assume that an order executes evenly over its
duration. An order that is past its expected end by `STALE_AFTER` is stale: its terminal event is late, lost, or
outside the data.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, DateTime, Integer, Interval, Text, TextClause, bindparam, text

from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.symbols.markets import FRAGMENTS

STALE_AFTER = timedelta(minutes=30)
_QUERIES = load_queries(__package__, "active_orders.sql", **FRAGMENTS)


def active_orders(wallet: str | None, asset: str | None, *, limit: int) -> TextClause:
    """Return a statement for the orders without a terminal event.

    One row: ``as_of``, ``data_until``, ``active_count``, ``stale_count``, and ``active`` and ``stale``, JSON arrays as
    text of at most ``limit`` orders each. Active orders are sorted by expected end, stale orders by expected end,
    latest first.
    """
    return text(_QUERIES["active_orders"]).bindparams(
        bindparam("wallet", wallet, Text()),
        bindparam("asset", asset, Text()),
        bindparam("stale_after", STALE_AFTER, Interval()),
        bindparam("limit", limit),
    )


def pressure(asset: str | None, horizons_minutes: Sequence[int]) -> TextClause:
    """Return a statement for the volume that active orders would execute within each horizon.

    One row: ``as_of``, ``data_until``, ``assets``, a JSON array as text. Waiting and stale orders are excluded.
    """
    horizons = bindparam("horizons", sorted(set(horizons_minutes)), ARRAY(Integer))
    return text(_QUERIES["pressure"]).bindparams(bindparam("asset", asset, Text()), horizons)


def pressure_history(asset: str, start: datetime, end: datetime, *, horizon_minutes: int) -> TextClause:
    """Return a statement for the volume that an asset's orders would have executed within the horizon, by hour.

    An order is running from its start until its terminal event, or until its expected end. The price is the average
    price of the orders of the asset that ended on the UTC day. Rows: ``body`` as JSON text, one per hour.
    """
    timestamp = DateTime(timezone=True)
    return text(_QUERIES["pressure_history"]).bindparams(
        bindparam("asset", asset, Text()),
        bindparam("start", start, timestamp),
        bindparam("end", end, timestamp),
        bindparam("horizon_minutes", horizon_minutes, Integer()),
    )
