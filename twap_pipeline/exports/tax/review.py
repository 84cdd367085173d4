"""The review of the orders of a tax file, before its first byte: a file without an order must never look complete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twap_pipeline.domain.symbols import SymbolResolver
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.tax.tools import TaxTool
from twap_pipeline.exports.tax.trade import NotATradeError, is_across_years, to_trade

_PRINTED_ORDERS = 10


@dataclass(slots=True)
class TaxReview:
    """What the reader of a tax file must know about its orders.

    Args:
        tool: The tool that reads the file.
        symbols: The names of spot pairs.
        perpetual_count: Executed orders of perpetuals, which the file does not contain.
        skipped: Order → reason, of the orders that are not in the file.
        across_years: Orders that started in another UTC year than that of their last event.
        truncated: Orders with an amount that has more decimals than the tool accepts.
    """

    tool: TaxTool
    symbols: SymbolResolver
    perpetual_count: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    across_years: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)

    def add(self, orders: Iterable[Mapping[str, Any]]) -> None:
        """Review orders, in the order of the file."""
        for order in orders:
            try:
                trade = to_trade(order, self.symbols)
            except NotATradeError as error:
                self.skipped[order["twap_id"]] = str(error)
                continue
            if is_across_years(order):
                self.across_years.append(order["twap_id"])
            if any(self.tool.truncates(amount.quantity) for amount in (trade.base, trade.quote)):
                self.truncated.append(order["twap_id"])

    def require_complete(self) -> None:
        """Raise if an order cannot be written.

        Raises:
            ExportError: Contains the first orders with their reasons, and what to do.
        """
        if self.skipped:
            raise ExportError(
                f"{_count(len(self.skipped))} cannot be written as a trade: {_list_reasons(self.skipped)}. For an"
                " unknown spot pair run `twap-pipeline symbols refresh`. To leave such orders out, use"
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
                f"not in this file: {_count(self.perpetual_count)} of perpetuals. {self.tool.perpetuals}, and the feed"
                " contains no fills"
            )
        return lines


def _count(number: int) -> str:
    return f"{number:,} order{'' if number == 1 else 's'}"


def _list_reasons(reasons: Mapping[str, str]) -> str:
    texts = [f"{twap_id} ({reason})" for twap_id, reason in list(reasons.items())[:_PRINTED_ORDERS]]
    more = len(reasons) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "")
