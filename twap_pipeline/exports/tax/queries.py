"""The queries of ``executions.sql``: what a tax file and its accompanying statement read from the fills of a wallet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Boolean, Connection, DateTime, Integer, Text, TextClause, TextualSelect, column, text

from twap_pipeline.exports.tax.fill_entries import COLUMNS
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.symbols.markets import FRAGMENTS

MarketChoice = Literal["spot", "perp", "all"]
TaxRows = Literal["orders", "days", "fills"]
"""What a line of a tax file is: a whole order, the fills of an order on a UTC day, or a fill."""

_QUERIES = load_queries(__package__, "executions.sql", **FRAGMENTS)
_TYPES: dict[str, Any] = {"is_spot": Boolean(), "executed_at": DateTime(timezone=True), "fill_count": Integer()}


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order with its state in the view ``twap_order_reconciliation``, and the totals that the state compares.

    Args:
        twap_id: The order.
        state: ``reconciled``, ``running``, ``missing_fills``, …
        fill_count: All fills of the order, also those outside of the range.
        size_executed: Of the order; None without an order.
        size_filled: Sum of the fills.
        notional_executed: Of the order; None without an order.
        notional_filled: Sum of the fills.
        is_across_years: Whether the order and its fills are in more than one UTC year.
    """

    twap_id: str
    state: str
    fill_count: int
    size_executed: str | None
    size_filled: str
    notional_executed: str | None
    notional_filled: str
    is_across_years: bool


@dataclass(frozen=True, slots=True)
class FeeSum:
    """The fees of a token. ``fee`` is in the file; the others are parts of it, or are not in the file."""

    token: str | None
    fee: str | None
    builder_fee: str | None
    deployer_fee: str | None
    priority_fee: str | None


@dataclass(frozen=True, slots=True)
class ProfitSum:
    """The realized profit of perpetuals in a token, before fees."""

    token: str | None
    realized_profit: str | None


@dataclass(frozen=True, slots=True)
class FillRange:
    """The fills of a wallet and market in a range of time.

    Args:
        wallet: Lower case.
        start: Inclusive; None is unbounded.
        end: Exclusive; None is unbounded.
        market: The market, or ``all``.
    """

    wallet: str
    start: datetime | None
    end: datetime | None
    market: MarketChoice

    def select_executions(self, rows: TaxRows) -> TextualSelect:
        """Return a statement with the columns `execution.COLUMNS`, oldest first.

        SQLAlchemy ignores ``yield_per`` for a text without declared columns: it would return all rows as one batch.
        """
        columns = (column(name, _TYPES.get(name, Text())) for name in COLUMNS)
        return self._bind("select_days" if rows == "days" else "select_fills").columns(*columns)

    def count_orders(self, connection: Connection) -> int:
        """Return the number of orders with a fill."""
        return int(connection.execute(self._bind("count_orders")).scalar_one())

    def read_order_states(self, connection: Connection) -> list[OrderState]:
        """Return the orders with fills in the range, and executed orders of the range that do not reconcile."""
        return [OrderState(*row) for row in connection.execute(self._bind("order_states"))]

    def read_fees(self, connection: Connection, skipped: Iterable[str]) -> list[FeeSum]:
        """Return the sums of the fees by token, without the fills of skipped orders."""
        return [FeeSum(*row) for row in connection.execute(self._bind("fees", skipped=list(skipped)))]

    def read_profits(self, connection: Connection, skipped: Iterable[str]) -> list[ProfitSum]:
        """Return the sums of the realized profit of perpetuals by token, without the fills of skipped orders."""
        return [ProfitSum(*row) for row in connection.execute(self._bind("profits", skipped=list(skipped)))]

    def _bind(self, query: str, **parameters: object) -> TextClause:
        bounds = {"start": self.start or "-infinity", "end": self.end or "infinity"}
        values = {"wallet": self.wallet, **bounds, "market": self.market, **parameters}
        return text(_QUERIES[query]).bindparams(**values)
