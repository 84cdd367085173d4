"""Writes the file of any tax tool; implements `formats.Writer`.

Text is not escaped for spreadsheets: a tool compares symbols character by character.
"""

from collections.abc import Sequence
from typing import Any

from twap_pipeline.exports.csv_format import to_csv_bytes
from twap_pipeline.exports.rows import to_mapping
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline.exports.tax.tools import Cell, TaxTool
from twap_pipeline.exports.tax.trade import Trade, to_trade


class TaxWriter:
    """Writes one line per trade.

    Args:
        review: The completed review of the same orders; its skipped orders are left out.
    """

    def __init__(self, review: TaxReview) -> None:
        self._review = review

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([list(self._review.tool.columns)])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return one line per order that the review did not skip.

        Raises:
            NotATradeError: An order that the review did not see cannot be written.
        """
        orders = (to_mapping(row) for row in batch)
        kept = (order for order in orders if order["twap_id"] not in self._review.skipped)
        return to_csv_bytes(to_cells(to_trade(order, self._review.symbols), self._review.tool) for order in kept)

    def end(self) -> bytes:
        """Return no bytes: a CSV file has no footer."""
        return b""


def to_cells(trade: Trade, tool: TaxTool) -> list[str]:
    """Return the cells of a trade in the columns of a tool."""
    base, quote = (tool.accepted(trade.base.quantity), tool.accepted(trade.quote.quantity))
    note = f", amounts truncated to {tool.decimals_max} decimals"
    is_truncated = any(tool.truncates(amount.quantity) for amount in (trade.base, trade.quote))
    (sent, sent_currency), (received, received_currency) = (
        ((quote, trade.quote.currency), (base, trade.base.currency))
        if trade.is_buy
        else ((base, trade.base.currency), (quote, trade.quote.currency))
    )
    values = {
        Cell.DATE: trade.at.strftime(tool.date_format),
        Cell.SENT_AMOUNT: sent,
        Cell.SENT_CURRENCY: sent_currency,
        Cell.RECEIVED_AMOUNT: received,
        Cell.RECEIVED_CURRENCY: received_currency,
        Cell.BASE_AMOUNT: base,
        Cell.BASE_CURRENCY: trade.base.currency,
        Cell.QUOTE_AMOUNT: quote,
        Cell.QUOTE_CURRENCY: trade.quote.currency,
        Cell.BUY_OR_SELL: "buy" if trade.is_buy else "sell",
        Cell.TRADE_ID: trade.trade_id,
        Cell.DESCRIPTION: trade.description + (note if is_truncated else ""),
    }
    return [values[content] if isinstance(content, Cell) else content for content in tool.columns.values()]
