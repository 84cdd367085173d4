"""The rows of an export of fills: a wallet's fills, oldest first, with the readable symbol of the asset."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Numeric, Select, Text, cast, literal, select

from twap_pipeline.domain.symbols import Market
from twap_pipeline.storage.schema.models import twap_fills
from twap_pipeline.storage.symbols.markets import is_spot, symbol

COLUMNS = (
    *("trade_id", "wallet", "twap_id", "ts", "asset", "symbol", "market", "dex", "base_symbol", "quote_symbol"),
    *("side", "direction", "price", "size", "notional", "realized_pnl", "start_position", "fee", "fee_token"),
    *("builder_fee", "deployer_fee", "priority_fee", "order_id", "is_taker", "s3_object_key"),
)
"""Columns of a row, in order. ``symbol`` and ``notional`` (price times size) are computed, the others as stored."""

_VALUES: dict[str, ColumnElement[Any]] = {
    **twap_fills.c,
    "symbol": symbol(twap_fills.c.asset, twap_fills.c.ts),
    "notional": twap_fills.c.price * twap_fills.c.size,
}

DECIMAL_COLUMNS = frozenset(name for name in COLUMNS if isinstance(_VALUES[name].type, Numeric))


def wallet_fills(
    wallet: str, start: datetime | None, end: datetime | None, *, market: Market | None = None
) -> Select[Any]:
    """Return a statement for a wallet's fills, oldest first. The range applies to their ``ts``.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inclusive; None is unbounded.
        end: End of the range, exclusive; None is unbounded.
        market: Only fills of this market; None is all.
    """
    fills, timestamp = twap_fills.c, DateTime(timezone=True)
    columns = [
        (cast(_VALUES[name], Text) if name in DECIMAL_COLUMNS else _VALUES[name]).label(name) for name in COLUMNS
    ]
    statement = select(*columns).where(fills.wallet == wallet)
    if start is not None:
        statement = statement.where(fills.ts >= literal(start, timestamp))
    if end is not None:
        statement = statement.where(fills.ts < literal(end, timestamp))
    if market is not None:
        statement = statement.where(is_spot(fills.asset) if market is Market.SPOT else ~is_spot(fills.asset))
    return statement.order_by(fills.ts, fills.trade_id)
