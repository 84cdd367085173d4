"""One export: which orders of a wallet, in which format, and what must be checked before the first byte.

The caller executes `PreparedExport.statement` in the same transaction, REPEATABLE READ, and passes the batches of rows
to the writer. So the command and the API share everything except how they read and deliver.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, func, select

from twap_pipeline.domain.symbols import Market
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.formats import BATCH_ROWS, FORMATS, Writer
from twap_pipeline.exports.rows import to_mapping, wallet_orders
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline.exports.tax.tools import TaxTool
from twap_pipeline.storage.symbols.spot_pairs import read_symbols

MarketChoice = Literal["spot", "perp", "all"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Args:
        format_name: A key of `FORMATS`.
        wallet: Lower case.
        start: Beginning of the range of last events, inclusive; None is unbounded.
        end: End of the range, exclusive; None is unbounded.
        market: None is the default of the format: ``spot`` for a tax tool, else ``all``.
        skip_incomplete: Leave out orders that are not a trade, instead of refusing the file.
    """

    format_name: str
    wallet: str
    start: datetime | None = None
    end: datetime | None = None
    market: MarketChoice | None = None
    skip_incomplete: bool = False

    @property
    def file_name(self) -> str:
        """The name of the file."""
        extension = FORMATS[self.format_name].extension
        purpose = f"-{self.format_name}" if FORMATS[self.format_name].tool else ""
        return f"twap-orders-{self.wallet}{purpose}.{extension}"


@dataclass(frozen=True, slots=True)
class PreparedExport:
    """An export that can begin.

    Args:
        statement: Selects the rows of the writer.
        writer: A new writer.
        review: What the reader of a tax file must know; None for other formats.
    """

    statement: Select[Any]
    writer: Writer
    review: TaxReview | None


def prepare_export(connection: Connection, request: ExportRequest) -> PreparedExport:
    """Return a writer and its statement. For a tax tool, all orders are read and reviewed first.

    Raises:
        ExportError: The tool does not accept the market, or an order is not a trade and must not be skipped.
    """
    export_format = FORMATS[request.format_name]
    tool = export_format.tool
    if tool is None:
        market = None if request.market in {None, "all"} else Market(str(request.market))
        statement = wallet_orders(request.wallet, request.start, request.end, market=market)
        return PreparedExport(statement, export_format.make_writer(), None)
    _require_spot(tool, request.market)
    statement = _executed_orders(request, Market.SPOT)
    review = _review(connection, request, tool, statement)
    if not request.skip_incomplete:
        review.require_complete()
    return PreparedExport(statement, export_format.make_writer(review), review)


def _require_spot(tool: TaxTool, market: MarketChoice | None) -> None:
    if market not in {None, "spot"}:
        raise ExportError(
            f"the format of {tool.title} cannot contain perpetuals: {tool.perpetuals}, and the feed contains no fills."
            " Export the market spot, and take the perpetuals from the exchange's own statement of fills"
        )


def _executed_orders(request: ExportRequest, market: Market) -> Select[Any]:
    return wallet_orders(request.wallet, request.start, request.end, market=market, executed_only=True)


def _review(connection: Connection, request: ExportRequest, tool: TaxTool, statement: Select[Any]) -> TaxReview:
    perpetuals = select(func.count()).select_from(_executed_orders(request, Market.PERP).order_by(None).subquery())
    review = TaxReview(tool, read_symbols(connection), connection.execute(perpetuals).scalar_one())
    for batch in connection.execute(statement, execution_options={"yield_per": BATCH_ROWS}).partitions():
        review.add(map(to_mapping, batch))
    return review
