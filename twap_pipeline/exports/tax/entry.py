"""The rows of a tax file, before a tool's columns: a trade, a net profit, or an opened or closed position.

An entry contains the values of cells; `writer` arranges them in the columns of a tool. How rows of the tables become
entries belongs in `order_entries` and `fill_entries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from twap_pipeline.exports.tax.tools import Cell, Label


class NotATradeError(ValueError):
    """A row cannot be written to a tax file; the message is the reason, in a few words."""


class Amount(NamedTuple):
    """An exact decimal, as text, and its currency."""

    quantity: str
    currency: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tax file.

    Args:
        row_id: Stable id: a file of an overlapping range has the same id for the same row.
        at: Date of the line, UTC.
        label: What the line is.
        amounts: Exact decimals, as text.
        texts: Currencies and assets.
        description: What the line contains.
    """

    row_id: str
    at: datetime
    label: Label
    amounts: Mapping[Cell, str]
    texts: Mapping[Cell, str]
    description: str


def make_trade(
    row_id: str, at: datetime, *, is_buy: bool, base: Amount, quote: Amount, fee: Amount | None, description: str
) -> Entry:
    """Return a spot trade: a buy sends the quote token and receives the base token; a sell does the opposite."""
    sent, received = (quote, base) if is_buy else (base, quote)
    amounts = {
        Cell.SENT_AMOUNT: sent.quantity,
        Cell.RECEIVED_AMOUNT: received.quantity,
        Cell.BASE_AMOUNT: base.quantity,
        Cell.QUOTE_AMOUNT: quote.quantity,
    }
    texts = {
        Cell.SENT_CURRENCY: sent.currency,
        Cell.RECEIVED_CURRENCY: received.currency,
        Cell.BASE_CURRENCY: base.currency,
        Cell.QUOTE_CURRENCY: quote.currency,
    }
    if fee:
        amounts[Cell.FEE_AMOUNT], texts[Cell.FEE_CURRENCY] = fee
    return Entry(row_id, at, Label.BUY if is_buy else Label.SELL, amounts, texts, description)


def make_profit(row_id: str, at: datetime, net: Amount, description: str) -> Entry:
    """Return a realized profit that was received, or a realized loss that was sent, each as a positive amount."""
    is_loss = Decimal(net.quantity) < 0
    amount, currency = (
        (Cell.SENT_AMOUNT, Cell.SENT_CURRENCY) if is_loss else (Cell.RECEIVED_AMOUNT, Cell.RECEIVED_CURRENCY)
    )
    quantity = net.quantity.removeprefix("-")
    amounts = {amount: quantity, Cell.BASE_AMOUNT: quantity}
    texts = {currency: net.currency, Cell.BASE_CURRENCY: net.currency}
    return Entry(row_id, at, Label.LOSS if is_loss else Label.PROFIT, amounts, texts, description)


def make_position(
    row_id: str, at: datetime, label: Label, *, size: Amount, profit: Amount, fee: str, description: str
) -> Entry:
    """Return the opening or closing of a position, with its profit before the fee. The fee has the profit's token."""
    amounts = {Cell.POSITION_AMOUNT: size.quantity, Cell.PROFIT: profit.quantity, Cell.FEE_AMOUNT: fee}
    texts = {Cell.POSITION_ASSET: size.currency, Cell.PROFIT_CURRENCY: profit.currency}
    return Entry(row_id, at, label, amounts, texts, description)


def require_positive(**quantities: str | None) -> None:
    """Raise if a decimal is missing, zero, negative, or not finite.

    Raises:
        NotATradeError: Names the decimal.
    """
    for name, quantity in quantities.items():
        if quantity is None or not (Decimal(quantity).is_finite() and Decimal(quantity) > 0):
            raise NotATradeError(f"{name} {quantity or 'missing'}")
