"""The rows of an export: a wallet's orders, oldest first."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Numeric, Select, Text, cast, literal, or_, select

from twap_pipeline.domain.symbols import Market
from twap_pipeline.storage.schema.models import twap_orders
from twap_pipeline.storage.symbols.markets import is_spot

COLUMNS = (
    *("twap_id", "wallet", "asset", "side", "status", "status_error"),
    *("size_requested", "size_executed", "notional_executed", "average_price", "is_underfilled"),
    *("started_at", "ended_at", "last_status_at", "duration_minutes", "reduce_only", "randomize"),
    *("event_count", "first_object_key", "last_object_key"),
)
"""Columns of a row, in order. Decimals are exact text, timestamps have a time zone, other values are as stored."""

DECIMAL_COLUMNS = frozenset(name for name in COLUMNS if isinstance(twap_orders.c[name].type, Numeric))


def wallet_orders(
    wallet: str,
    start: datetime | None,
    end: datetime | None,
    *,
    market: Market | None = None,
    executed_only: bool = False,
) -> Select[Any]:
    """Return a statement for a wallet's orders. The range applies to ``last_status_at``.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inclusive; None is unbounded.
        end: End of the range, exclusive; None is unbounded.
        market: Only orders of this market; None is all. An order without an asset counts as spot: the review of a tax
            file must see it.
        executed_only: Exclude orders that executed nothing.
    """
    columns = twap_orders.c
    timestamp = DateTime(timezone=True)
    selected = [cast(columns[name], Text).label(name) if name in DECIMAL_COLUMNS else columns[name] for name in COLUMNS]
    statement = select(*selected).where(columns.wallet == wallet)
    if start is not None:
        statement = statement.where(columns.last_status_at >= literal(start, timestamp))
    if end is not None:
        statement = statement.where(columns.last_status_at < literal(end, timestamp))
    if market is not None:
        # An order without an asset counts as spot: a tax file must not omit it silently.
        is_in_spot_file = or_(columns.asset.is_(None), is_spot(columns.asset))
        statement = statement.where(is_in_spot_file if market is Market.SPOT else ~is_in_spot_file)
    if executed_only:
        statement = statement.where(columns.size_executed > 0)
    return statement.order_by(columns.last_status_at, columns.twap_id)
