"""An executed spot order as a trade: what was sent and what was received.

A buy sends the quote token and receives the base token; a sell does the opposite. Amounts are the exact text of the
tables. The time is that of the order's last event, and so are the names of the pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from twap_pipeline.domain.symbols import SymbolResolver


class NotATradeError(ValueError):
    """An order cannot be written as a trade; the message is the reason, in a few words."""


class Amount(NamedTuple):
    """An exact decimal, as text, and its currency."""

    quantity: str
    currency: str


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade.

    Args:
        trade_id: Stable id: a file of an overlapping range has the same id for the same order.
        at: Time of the order's last event, UTC.
        is_buy: Whether the base token was bought.
        base: Executed size.
        quote: Executed notional.
        description: What the row is, and what it lacks.
    """

    trade_id: str
    at: datetime
    is_buy: bool
    base: Amount
    quote: Amount
    description: str


def to_trade(order: Mapping[str, Any], symbols: SymbolResolver) -> Trade:
    """Return an executed spot order as a trade.

    Args:
        order: The columns of `rows.COLUMNS`.
        symbols: The names of spot pairs.

    Raises:
        NotATradeError: The order has no asset, no positive size or notional, no side A or B, or its pair is unknown.
    """
    if order["side"] not in {"A", "B"}:
        raise NotATradeError(f"side {order['side'] or 'missing'}")
    for name in ("size_executed", "notional_executed"):
        if order[name] is None or not _is_positive(order[name]):
            raise NotATradeError(f"{name} {order[name] or 'missing'}")
    if not order["asset"]:
        raise NotATradeError("asset missing")
    symbol = symbols.resolve(order["asset"], order["last_status_at"])
    if symbol.quote is None or not symbol.is_known:
        raise NotATradeError(f"unknown spot pair {order['asset']}")
    return Trade(
        f"hl-twap-{order['twap_id']}",
        order["last_status_at"],
        order["side"] == "B",
        Amount(order["size_executed"], symbol.base),
        Amount(order["notional_executed"], symbol.quote),
        f"Hyperliquid TWAP {order['twap_id']}, {order['status'] or 'status unknown'}, whole order, fees not included",
    )


def _is_positive(quantity: str) -> bool:
    value = Decimal(quantity)
    return value.is_finite() and value > 0


def is_across_years(order: Mapping[str, Any]) -> bool:
    """Return whether an order started in another UTC year than that of its last event."""
    started_at: datetime | None = order["started_at"]
    return started_at is not None and started_at.year != order["last_status_at"].year
