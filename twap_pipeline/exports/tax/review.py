"""The review of the orders of a tax file, before its first byte: a file without an order must never look complete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from twap_pipeline.errors import ExportError
from twap_pipeline.exports.tax.entry import Entry, NotATradeError
from twap_pipeline.exports.tax.order_entries import is_across_years
from twap_pipeline.exports.tax.queries import TaxRows
from twap_pipeline.exports.tax.tools import TaxTool

_PRINTED_ORDERS = 10
_INCOMPLETE_STATES = frozenset({"missing_fills", "surplus_fills", "different_notional", "fills_not_loaded"})


@dataclass(slots=True)
class TaxReview:
    """What the reader of a tax file must know about its orders.

    Args:
        tool: The file.
        rows: What a line is.
        columns: The names of a row's values; one is ``twap_id``.
        to_entries: Returns the lines of a row, a mapping from its columns; or raises NotATradeError.
        states: Of a file from fills, the rows of `FillRange.read_order_states`; empty for a file from orders.
        perpetual_count: Executed orders of perpetuals, which the file does not contain.
        skipped: Order → reason, of the orders that are not in the file.
        across_years: In a file from orders, those that started in another UTC year than that of their last event.
        truncated: The keys are orders with an amount that has more decimals than the tool accepts.
        line_counts: Order → its lines in the file.
    """

    tool: TaxTool
    rows: TaxRows
    columns: Sequence[str]
    to_entries: Callable[[Mapping[str, Any]], list[Entry]]
    states: Sequence[Row[Any]] = ()
    perpetual_count: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    across_years: list[str] = field(default_factory=list)
    truncated: dict[str, None] = field(default_factory=dict)
    line_counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Skip the orders whose fills do not add up to their executed totals, and executed orders without a fill."""
        for order in self.states:
            if order.state in _INCOMPLETE_STATES or not order.fill_count:
                filled = f"fills of {order.size_filled} of {order.size_executed}"
                self.skipped[order.twap_id] = f"{order.state}: {filled}"

    def add(self, values: Sequence[Any]) -> None:
        """Review the next row of the file."""
        row = dict(zip(self.columns, values, strict=True))
        twap_id = row["twap_id"]
        if twap_id in self.skipped:
            return
        try:
            entries = self.to_entries(row)
        except NotATradeError as error:
            self.skipped[twap_id] = str(error)
            self.line_counts.pop(twap_id, None)
            self.truncated.pop(twap_id, None)
            return
        if self.rows == "orders" and is_across_years(row):
            self.across_years.append(twap_id)
        if any(self.tool.truncates(quantity) for entry in entries for quantity in entry.amounts.values()):
            self.truncated[twap_id] = None
        self.line_counts[twap_id] = self.line_counts.get(twap_id, 0) + len(entries)

    @property
    def orders_across_years(self) -> list[str]:
        """Orders in more than one UTC year. A file from fills splits them; a file from orders dates each as a whole."""
        if self.rows == "orders":
            return self.across_years
        return [order.twap_id for order in self.states if order.is_across_years]

    def require_complete(self) -> None:
        """Raise if an order cannot be written.

        Raises:
            ExportError: Contains the first orders with their reasons, and what to do.
        """
        if self.skipped:
            load = (
                ""
                if self.rows == "orders"
                else "For fills that are not loaded or do not add up, load their days; --rows orders (HTTP:"
                " rows=orders) writes whole spot orders without fees. "
            )
            raise ExportError(
                f"{_count(len(self.skipped))} cannot be written as a trade: {_list_reasons(self.skipped)}. For an"
                f" unknown spot pair run `twap-pipeline symbols refresh`. {load}To leave such orders out, use"
                " --skip-incomplete (HTTP: skip_incomplete=true), and enter them by hand"
            )

    def notes(self) -> list[str]:
        """Return the warnings, one line each."""
        lines = []
        if self.skipped:
            reasons = ", ".join(f"{twap_id} ({reason})" for twap_id, reason in self.skipped.items())
            lines.append(f"skipped {_count(len(self.skipped))}: {reasons}")
        if self.across_years:
            lines.append(
                f"{_count(len(self.across_years))} began in another year than the one in which they are dated, that of"
                f" their last event: {', '.join(self.across_years)}"
            )
        if self.truncated:
            lines.append(
                f"amounts truncated to {self.tool.decimals_max} decimals, as {self.tool.title} requires, in"
                f" {_count(len(self.truncated))}: {', '.join(self.truncated)}"
            )
        if self.perpetual_count:
            lines.append(
                f"not in this file: {_count(self.perpetual_count)} of perpetuals. "
                + (
                    self.tool.no_perpetuals
                    or "--market perp (HTTP: market=perp) writes them, if their fills are loaded"
                )
            )
        return lines


def _count(number: int) -> str:
    return f"{number:,} order{'' if number == 1 else 's'}"


def _list_reasons(reasons: Mapping[str, str]) -> str:
    texts = [f"{twap_id} ({reason})" for twap_id, reason in list(reasons.items())[:_PRINTED_ORDERS]]
    more = len(reasons) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "")
