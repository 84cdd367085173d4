"""An executed spot order as a trade: what was sent and what was received.

This is the form of tables without fills: amounts are the executed totals, as the exact text of the tables. The time is
that of the order's last event, and so are the names of the pair. `fill_entries` is the form of tables with fills.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twap_pipeline.domain.symbols import SymbolResolver
from twap_pipeline.exports.tax.entry import Amount, Entry, NotATradeError, make_trade, require_positive


def order_to_entries(order: Mapping[str, Any], symbols: SymbolResolver) -> list[Entry]:
    """Return an executed spot order as one trade.

    Raises:
        NotATradeError: The order has no asset, no positive size or notional, no side A or B, or its pair is unknown.
    """
    if order["side"] not in {"A", "B"}:
        raise NotATradeError(f"side {order['side'] or 'missing'}")
    size, notional = order["size_executed"], order["notional_executed"]
    require_positive(size_executed=size, notional_executed=notional)
    if not order["asset"]:
        raise NotATradeError("asset missing")
    base, quote = resolve_pair(order["asset"], order["last_status_at"], symbols)
    return [
        make_trade(
            f"hl-twap-{order['twap_id']}",
            order["last_status_at"],
            is_buy=order["side"] == "B",
            base=Amount(size, base),
            quote=Amount(notional, quote),
            fee=None,
            description=f"Hyperliquid TWAP {order['twap_id']}, {order['status'] or 'status unknown'}, whole order,"
            " fees not included",
        )
    ]


def resolve_pair(asset: str, at: datetime, symbols: SymbolResolver) -> tuple[str, str]:
    """Return base and quote token of a spot pair, by the exchange's names at a time.

    Raises:
        NotATradeError: The names are not recorded.
    """
    pair = symbols.resolve(asset, at)
    if pair is None:
        raise NotATradeError(f"unknown spot pair {asset}")
    return pair


def is_across_years(order: Mapping[str, Any]) -> bool:
    """Return whether an order started in another UTC year than that of its last event."""
    started_at: datetime | None = order["started_at"]
    return started_at is not None and started_at.year != order["last_status_at"].year
