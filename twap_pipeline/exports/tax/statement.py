"""The accompanying statement of a tax file: which orders reconcile with their fills, and which sums the file has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from twap_pipeline.exports.tax.queries import MarketChoice, TaxRows


@dataclass(frozen=True, slots=True)
class TaxStatement:
    """What a tax file contains, and what it cannot contain. Sums are exact text, of the orders in the file.

    Args:
        tool: Title of the tool.
        wallet: Lower case.
        market: Market of the file.
        rows: What a line is.
        start: Beginning of the range, inclusive; None is unbounded.
        end: End of the range, exclusive; None is unbounded.
        is_complete: Whether no order is left out; otherwise the file is refused, or lacks the skipped orders.
        line_count: Lines of the file, without the header.
        order_count: Orders in the file.
        orders_by_state: State of reconciliation → number of orders; empty for a file from orders.
        orders_not_reconciled: Rows of `FillRange.read_order_states` whose fills do not, or not yet, add up.
        orders_across_years: Orders in more than one UTC year.
        skipped_orders: Order → reason, of the orders that cannot be in the file.
        fees: Rows of `FillRange.read_fees`; empty for a file from orders.
        realized_profits: Rows of `FillRange.read_profits`.
        notes: The warnings of the file, and what it does not contain.
    """

    tool: str
    wallet: str
    market: MarketChoice
    rows: TaxRows
    start: datetime | None
    end: datetime | None
    is_complete: bool
    line_count: int
    order_count: int
    orders_by_state: Mapping[str, int]
    orders_not_reconciled: Sequence[Row[Any]]
    orders_across_years: Sequence[str]
    skipped_orders: Mapping[str, str]
    fees: Sequence[Row[Any]]
    realized_profits: Sequence[Row[Any]]
    notes: Sequence[str]

    def lines(self) -> Iterator[str]:
        """Yield the statement as text."""
        yield f"Statement of the tax file for {self.tool}"
        yield f"wallet: {self.wallet}"
        yield f"range: from {self.start or 'the first fill'} before {self.end or 'now'} (UTC, end exclusive)"
        yield f"market: {self.market}"
        yield f"rows: {self.rows}; {self.line_count:,} lines of {self.order_count:,} orders"
        yield f"complete: {'yes' if self.is_complete else 'no, see the skipped orders'}"
        for state, count in self.orders_by_state.items():
            yield f"orders {state}: {count:,}"
        for order in self.orders_not_reconciled:
            yield (
                f"order {order.twap_id} {order.state}: fills {order.fill_count:,},"
                f" size {order.size_filled} of {order.size_executed or 'unknown'},"
                f" notional {order.notional_filled} of {order.notional_executed or 'unknown'}"
            )
        yield f"orders across years: {', '.join(self.orders_across_years) or 'none'}"
        for total in self.fees:
            yield (
                f"fees in {total.token or 'unknown token'}: {total.fee or 0}, of these builder fees"
                f" {total.builder_fee or 0}; not counted: deployer fees {total.deployer_fee or 0}, priority fees"
                f" {total.priority_fee or 0}"
            )
        for profit in self.realized_profits:
            yield f"realized profit before fees in {profit.token or 'unknown token'}: {profit.realized_profit}"
        yield from self.notes
