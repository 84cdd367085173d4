"""Executed orders as trades, in the forms that KoinlyWriter and CoinTrackerWriter document for files made by hand.

A buy receives the coin and sends its notional, a sell the other way round, at the time of the order's last event. Fee
columns stay empty: fees are not in this feed. The forms, and where they are documented, are told in docs/api.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from twap_pipeline.errors import ExportError
from twap_pipeline.exports.csv_format import escape_formula, to_csv_bytes
from twap_pipeline.exports.rows import COLUMNS


@dataclass(frozen=True, slots=True)
class Trade:
    """What an executed order did, in total."""

    twap_id: str
    at: datetime
    sent: tuple[str, str]
    received: tuple[str, str]
    description: str


def to_trade(row: Sequence[Any]) -> Trade:
    """Return an executed order as a trade.

    Args:
        row: Of `storage.queries.export.COLUMNS`.

    Raises:
        ExportError: It has no notional, or is neither a buy nor a sell: no trade can be told of it.
    """
    order = dict(zip(COLUMNS, row, strict=True))
    base, _, quote = (order["asset"] or "").partition("/")
    coin = (order["size_executed"], base)
    money = (order["notional_executed"], quote or "USD")
    if order["side"] not in {"A", "B"} or not base or money[0] is None:
        raise ExportError(
            f"order {order['twap_id']} executed {coin[0]} {base or '?'}, but has side {order['side']!r} and notional"
            f" {money[0]}: it is no trade; export it as csv or parquet, or narrow the range"
        )
    buys = order["side"] == "B"
    words = f"Hyperliquid TWAP {order['twap_id']}, {order['status']}, whole order, fees not included"
    return Trade(order["twap_id"], order["last_status_at"], *((money, coin) if buys else (coin, money)), words)


class KoinlyWriter:
    """KoinlyWriter's universal form."""

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([_KOINLY])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return some trades."""
        return to_csv_bytes(
            [
                f"{trade.at:%Y-%m-%d %H:%M:%S} UTC",
                *_amounts(trade.sent),
                *_amounts(trade.received),
                *([None] * 5),
                escape_formula(trade.description),
                None,
            ]
            for trade in map(to_trade, batch)
        )

    def end(self) -> bytes:
        """Return nothing."""
        return b""


class CoinTrackerWriter:
    """CoinTrackerWriter's form."""

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([_COINTRACKER])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return some trades."""
        return to_csv_bytes(
            [f"{trade.at:%m/%d/%Y %H:%M:%S}", *_amounts(trade.received), *_amounts(trade.sent), None, None, None]
            for trade in map(to_trade, batch)
        )

    def end(self) -> bytes:
        """Return nothing."""
        return b""


_KOINLY = (
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
_COINTRACKER = (
    "Date",
    "Received Quantity",
    "Received Currency",
    "Sent Quantity",
    "Sent Currency",
    "Fee Amount",
    "Fee Currency",
    "Tag",
)


def _amounts(side: tuple[str, str]) -> tuple[str, str | None]:
    return side[0], escape_formula(side[1])
