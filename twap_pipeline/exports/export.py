"""One export: which orders or fills of a wallet, in which format, and what must be checked before the first byte.

The caller executes `PreparedExport.statement` in the same transaction, REPEATABLE READ, and passes the batches of rows
to the writer. So the command and the API share everything except how they read and deliver.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Executable, Select, TextualSelect, func, select

from twap_pipeline.domain.symbols import Market
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.formats import BATCH_ROWS, DISCLAIMER, FORMATS, Writer
from twap_pipeline.exports.rows import ORDER_COLUMNS, select_rows
from twap_pipeline.exports.tax.fill_entries import COLUMNS, execution_to_entries
from twap_pipeline.exports.tax.order_entries import order_to_entries
from twap_pipeline.exports.tax.queries import FillRange, MarketChoice, TaxRows
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline.exports.tax.statement import TaxStatement
from twap_pipeline.exports.tax.tools import Label, TaxTool
from twap_pipeline.storage.schema.models import twap_orders
from twap_pipeline.storage.symbols.spot_pairs import read_symbols

FILLS_DISCLAIMER = (
    "Fees and realized profit are those of the loaded fills of TWAP orders. Funding payments and other trades of the"
    " wallet are not in the data."
)
"""Accompanies every file from fills."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Args:
        format_name: A key of `FORMATS`.
        wallet: Lower case.
        start: Beginning of the range, inclusive; None is unbounded. The range bounds the last events of orders, and in
            a file from fills the times of the fills.
        end: End of the range, exclusive; None is unbounded.
        market: None is the default of the format: ``spot`` for a tax tool, else ``all``.
        skip_incomplete: Leave out orders that cannot be written to a tax file, instead of refusing the file.
        rows: What a line of a tax file is; None is ``days`` if a fill of the range is loaded, else ``orders``.
    """

    format_name: str
    wallet: str
    start: datetime | None = None
    end: datetime | None = None
    market: MarketChoice | None = None
    skip_incomplete: bool = False
    rows: TaxRows | None = None

    @property
    def file_name(self) -> str:
        """The name of the file. It contains the market of a tax file other than spot: Awaken has a file per market."""
        parts = [f"twap-{FORMATS[self.format_name].subject}", self.wallet]
        if FORMATS[self.format_name].tool:
            parts += [self.format_name, *([self.market] if self.market in {"perp", "all"} else [])]
        return f"{'-'.join(parts)}.{FORMATS[self.format_name].extension}"


@dataclass(frozen=True, slots=True)
class PreparedExport:
    """An export that can begin; ``review`` is None except for a tax file, in which ``is_of_fills`` is False."""

    statement: Executable
    writer: Writer
    review: TaxReview | None
    is_of_fills: bool = False

    @property
    def disclaimer(self) -> str:
        """What the file does not contain."""
        is_of_orders = self.review.rows == "orders" if self.review else not self.is_of_fills
        return DISCLAIMER if is_of_orders else FILLS_DISCLAIMER


def prepare_export(connection: Connection, request: ExportRequest) -> PreparedExport:
    """Return a writer and its statement. For a tax tool, all rows are read and reviewed first.

    Raises:
        ExportError: The tool does not accept the market, or an order cannot be written and must not be skipped.
    """
    export_format = FORMATS[request.format_name]
    if export_format.tool is None:
        market = None if request.market in {None, "all"} else Market(str(request.market))
        statement = select_rows(export_format.subject, request.wallet, request.start, request.end, market=market)
        is_of_fills = export_format.subject == "fills"
        return PreparedExport(statement, export_format.make_writer(), None, is_of_fills=is_of_fills)
    executable, review = _review(connection, request, export_format.tool)
    if not request.skip_incomplete:
        review.require_complete()
    return PreparedExport(executable, export_format.make_writer(review), review)


def read_statement(connection: Connection, request: ExportRequest) -> TaxStatement:
    """Return the accompanying statement of a tax file, also of one that `prepare_export` refuses as incomplete.

    Raises:
        ExportError: The format is not that of a tax tool, or the tool does not accept the market.
    """
    tool = FORMATS[request.format_name].tool
    if tool is None:
        names = ", ".join(name for name, export_format in FORMATS.items() if export_format.tool)
        raise ExportError(f"the format {request.format_name} has no statement; choose a tax tool: {names}")
    _, review = _review(connection, request, tool)
    fills = _fill_range(request)
    has_fills = review.rows != "orders"
    return TaxStatement(
        tool=tool.title,
        wallet=request.wallet,
        market=fills.market,
        rows=review.rows,
        start=request.start,
        end=request.end,
        is_complete=not review.skipped,
        line_count=sum(review.line_counts.values()),
        order_count=len(review.line_counts),
        orders_by_state=dict(sorted(Counter(order.state for order in review.states).items())),
        orders_not_reconciled=[order for order in review.states if order.state != "reconciled"],
        orders_across_years=review.orders_across_years,
        skipped_orders=review.skipped,
        fees=fills.read_fees(connection, review.skipped) if has_fills else [],
        realized_profits=fills.read_profits(connection, review.skipped) if has_fills else [],
        notes=[*review.notes(), FILLS_DISCLAIMER if has_fills else DISCLAIMER],
    )


def _fill_range(request: ExportRequest) -> FillRange:
    return FillRange(request.wallet, request.start, request.end, request.market or "spot")


def _review(connection: Connection, request: ExportRequest, tool: TaxTool) -> tuple[Executable, TaxReview]:
    """Return the statement of the rows, and their review."""
    fills = _fill_range(request)
    rows: TaxRows = request.rows or ("days" if fills.count_orders(connection) else "orders")
    file = _require_file(tool, fills.market, rows)
    symbols = read_symbols(connection)
    statement: Select[Any] | TextualSelect
    if rows == "orders":
        statement = _executed_orders(request, Market.SPOT)
        review = TaxReview(file, rows, ORDER_COLUMNS, partial(order_to_entries, symbols=symbols))
        perpetuals = select(func.count()).select_from(_executed_orders(request, Market.PERP).order_by(None).subquery())
        review.perpetual_count = connection.execute(perpetuals).scalar_one()
    else:
        statement = fills.select_executions(rows)
        to_entries = partial(execution_to_entries, symbols=symbols, tool=file)
        review = TaxReview(file, rows, COLUMNS, to_entries, fills.read_order_states(connection))
        if fills.market == "spot":
            review.perpetual_count = replace(fills, market="perp").count_orders(connection)
    for row in connection.execute(statement, execution_options={"yield_per": BATCH_ROWS}):
        review.add(row)
    return statement, review


def _require_file(tool: TaxTool, market: MarketChoice, rows: TaxRows) -> TaxTool:
    """Return the file of a tool that can contain a market.

    Raises:
        ExportError: There is no such file, or perpetuals are requested from orders.
    """
    if market == "spot":
        return tool
    if tool.no_perpetuals:
        raise ExportError(
            f"the format of {tool.title} cannot contain perpetuals: {tool.no_perpetuals}. Export the market spot, and"
            " enter the perpetuals by hand, or use another tool for them"
        )
    if rows == "orders":
        raise ExportError(
            f"a file of {tool.title} cannot contain perpetuals from orders: it needs the realized profit, which only"
            " fills contain. Load the fills of the range (TWAP_FILLS_URL), or export the market spot"
        )
    if Label.PROFIT in tool.labels:
        return tool
    if market == "perp" and tool.perpetuals:
        return tool.perpetuals
    raise ExportError(f"{tool.title} has one file per market: export the markets spot and perp, each to its own file")


def _executed_orders(request: ExportRequest, market: Market) -> Select[Any]:
    orders = select_rows("orders", request.wallet, request.start, request.end, market=market)
    return orders.where(twap_orders.c.size_executed > 0)
