"""The rows of an export: a wallet's orders or fills, oldest first.

Decimals are exact text, timestamps have a time zone, other values are as stored. Of fills, ``symbol`` and ``notional``
(price times size) are computed.
"""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, DateTime, Numeric, Select, Text, cast, literal, or_, select

from twap_pipeline.domain.symbols import Market
from twap_pipeline.storage.schema.models import twap_fills, twap_orders
from twap_pipeline.storage.symbols.markets import is_spot, symbol

Subject = Literal["orders", "fills"]

ORDER_COLUMNS: tuple[str, ...] = (
    *("twap_id", "wallet", "asset", "side", "status", "status_error"),
    *("size_requested", "size_executed", "notional_executed", "average_price", "is_underfilled"),
    *("started_at", "ended_at", "last_status_at", "duration_minutes", "reduce_only", "randomize"),
    *("event_count", "first_object_key", "last_object_key"),
)
FILL_COLUMNS: tuple[str, ...] = (
    *("trade_id", "wallet", "twap_id", "ts", "asset", "symbol", "market", "dex", "base_symbol", "quote_symbol"),
    *("side", "direction", "price", "size", "notional", "realized_pnl", "start_position", "fee", "fee_token"),
    *("builder_fee", "deployer_fee", "priority_fee", "order_id", "is_taker", "s3_object_key"),
)

_ORDER_VALUES: dict[str, ColumnElement[Any]] = dict(twap_orders.c)
_FILL_VALUES: dict[str, ColumnElement[Any]] = {
    **twap_fills.c,
    "symbol": symbol(twap_fills.c.asset, twap_fills.c.ts),
    "notional": twap_fills.c.price * twap_fills.c.size,
}

DECIMAL_COLUMNS = frozenset(
    name for name, value in (_ORDER_VALUES | _FILL_VALUES).items() if isinstance(value.type, Numeric)
)


def select_rows(
    subject: Subject, wallet: str, start: datetime | None, end: datetime | None, *, market: Market | None
) -> Select[Any]:
    """Return a statement for a wallet's orders or fills. None is unbounded, and every market.

    Args:
        subject: The range applies to ``last_status_at`` of orders, and to ``ts`` of fills.
        wallet: Lower case.
        start: Beginning of the range, inclusive.
        end: End of the range, exclusive.
        market: An order without an asset counts as spot: a tax file must not omit it silently.
    """
    if subject == "orders":
        names, values, at, row_id = ORDER_COLUMNS, _ORDER_VALUES, twap_orders.c.last_status_at, "twap_id"
    else:
        names, values, at, row_id = FILL_COLUMNS, _FILL_VALUES, twap_fills.c.ts, "trade_id"
    selected = [(cast(values[name], Text) if name in DECIMAL_COLUMNS else values[name]).label(name) for name in names]
    statement = select(*selected).where(values["wallet"] == wallet)
    if start is not None:
        statement = statement.where(at >= literal(start, DateTime(timezone=True)))
    if end is not None:
        statement = statement.where(at < literal(end, DateTime(timezone=True)))
    if market is not None:
        is_in_spot_file = or_(values["asset"].is_(None), is_spot(values["asset"]))
        statement = statement.where(is_in_spot_file if market is Market.SPOT else ~is_in_spot_file)
    return statement.order_by(at, values[row_id])
