"""The formats ``koinly`` and ``cointracker``: executed orders as trades, for the tax tools of these names.

A buy sends the notional and receives the coin; a sell sends the coin and receives the notional. The time is that of the
order's last event. Fee columns are empty, because the feed contains no fees. The documentation of the
export formats links to both specifications. Text is not escaped for spreadsheets: a tool compares symbols such as
``@107`` character by character.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from twap_pipeline.errors import ExportError

KOINLY_HEADER = (
    "Date",
    "Sent Amount",
    "Sent Currency",
    "Received Amount",
    "Received Currency",
    "Fee Amount",
    "Fee Currency",
    "Net Worth Amount",
    "Net Worth Currency",
    "Label",
    "Description",
    "TxHash",
)
COINTRACKER_HEADER = (
    "Date",
    "Received Quantity",
    "Received Currency",
    "Sent Quantity",
    "Sent Currency",
    "Fee Amount",
    "Fee Currency",
    "Tag",
)


class Amount(NamedTuple):
    """An exact decimal and its currency."""

    quantity: str
    currency: str | None


def to_koinly_cells(order: Mapping[str, Any]) -> list[object]:
    """Return the cells of an order in Koinly's universal format."""
    sent, received = to_trade(order)
    description = f"Hyperliquid TWAP {order['twap_id']}, {order['status']}, whole order, fees not included"
    time = f"{order['last_status_at']:%Y-%m-%d %H:%M:%S} UTC"
    return [time, *sent, *received, *[None] * 5, description, None]


def to_cointracker_cells(order: Mapping[str, Any]) -> list[object]:
    """Return the cells of an order in CoinTracker's format."""
    sent, received = to_trade(order)
    return [f"{order['last_status_at']:%m/%d/%Y %H:%M:%S}", *received, *sent, None, None, None]


def to_trade(order: Mapping[str, Any]) -> tuple[Amount, Amount]:
    """Return the amounts that an executed order sent and received.

    Args:
        order: The columns of `rows.COLUMNS`.

    Raises:
        ExportError: The order has no notional or no asset, or its side is not A or B.
    """
    base, _, quote = (order["asset"] or "").partition("/")
    size, notional = order["size_executed"], order["notional_executed"]
    if order["side"] not in {"A", "B"} or not base or notional is None:
        raise ExportError(
            f"order {order['twap_id']} is not a trade: it executed {size} {base or '?'}, but has side"
            f" {order['side']!r} and notional {notional}; export as csv or parquet, or narrow the range"
        )
    coin = Amount(size, base)
    money = Amount(notional, quote or "USD")
    return (money, coin) if order["side"] == "B" else (coin, money)
