"""A wallet's orders as rows to write into a file, oldest first; read through a cursor, so that any number streams."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Numeric, Select, Text, cast, literal, select

from twap_pipeline.storage.schema.models import twap_orders as orders

COLUMNS = (
    "twap_id",
    "wallet",
    "asset",
    "side",
    "status",
    "status_error",
    "size_requested",
    "size_executed",
    "notional_executed",
    "average_price",
    "is_underfilled",
    "started_at",
    "ended_at",
    "last_status_at",
    "duration_minutes",
    "reduce_only",
    "randomize",
    "event_count",
    "first_object_key",
    "last_object_key",
)
"""Columns of a row, in order. Decimals are exact text, times are aware, all else as stored."""


def wallet_orders(
    wallet: str, start: datetime | None, end: datetime | None, *, executed_only: bool = False
) -> Select[Any]:
    """Return a statement for a wallet's orders whose last event, for an ended one its end, is in the range.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inside it; None when open.
        end: End of the range, outside it; None when open.
        executed_only: Only orders that executed something.
    """
    format_timestamp = DateTime(timezone=True)
    chosen = (orders.c[name] for name in COLUMNS)
    told = (cast(one, Text).label(one.name) if isinstance(one.type, Numeric) else one for one in chosen)
    statement = select(*told).where(orders.c.wallet == wallet)
    if start is not None:
        statement = statement.where(orders.c.last_status_at >= literal(start, format_timestamp))
    if end is not None:
        statement = statement.where(orders.c.last_status_at < literal(end, format_timestamp))
    if executed_only:
        statement = statement.where(orders.c.size_executed > 0)
    return statement.order_by(orders.c.last_status_at, orders.c.twap_id)
