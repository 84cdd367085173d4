"""The queries of ``executions.sql``: what a tax file and its accompanying statement read from the fills of a wallet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Boolean, Connection, DateTime, Integer, Row, Text, TextClause, TextualSelect, column, text

from twap_pipeline.exports.tax.fill_entries import COLUMNS
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.symbols.markets import FRAGMENTS

MarketChoice = Literal["spot", "perp", "all"]
TaxRows = Literal["orders", "days", "fills"]
"""What a line of a tax file is: a whole order, the fills of an order on a UTC day, or a fill."""

_QUERIES = load_queries(__package__, "executions.sql", **FRAGMENTS)
_TYPES: dict[str, Any] = {"is_spot": Boolean(), "executed_at": DateTime(timezone=True), "fill_count": Integer()}


@dataclass(frozen=True, slots=True)
class FillRange:
    """The fills of a wallet and market from ``start`` to before ``end``; None is unbounded.

    ``executions.sql`` describes the rows of each query.
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

    def read_order_states(self, connection: Connection) -> Sequence[Row[Any]]:
        """Return the orders with fills in the range, and executed orders of the range that do not reconcile."""
        return connection.execute(self._bind("order_states")).all()

    def read_fees(self, connection: Connection, skipped: Iterable[str]) -> Sequence[Row[Any]]:
        """Return the sums of the fees by token, without the fills of skipped orders."""
        return connection.execute(self._bind("fees", skipped=list(skipped))).all()

    def read_profits(self, connection: Connection, skipped: Iterable[str]) -> Sequence[Row[Any]]:
        """Return the sums of the realized profit of perpetuals by token, without the fills of skipped orders."""
        return connection.execute(self._bind("profits", skipped=list(skipped))).all()

    def _bind(self, query: str, **parameters: object) -> TextClause:
        bounds = {"start": self.start or "-infinity", "end": self.end or "infinity"}
        values = {"wallet": self.wallet, **bounds, "market": self.market, **parameters}
        return text(_QUERIES[query]).bindparams(**values)
