"""The export formats of a wallet's orders and fills.

Each format has a `Writer`, which turns batches of rows into bytes. A file has one row per order or per fill. To add a
tax tool, add its description to `tax.tools`; to add another format, write its module and add it to `FORMATS`. How a
file is produced belongs in `export`.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from sqlalchemy import Select

from twap_pipeline.exports import fill_rows, order_rows
from twap_pipeline.exports.csv_format import CsvWriter, to_cells
from twap_pipeline.exports.parquet_format import ParquetWriter
from twap_pipeline.exports.tax.tools import TOOLS, TaxTool
from twap_pipeline.exports.tax.writer import TaxWriter

DISCLAIMER = (
    "Each row is a whole order with its executed totals, without fees, closed profit and slices: these are in the"
    " fills, which this file does not contain. It does not state a gain or a loss."
)
"""Accompanies every export from orders."""

BATCH_ROWS = 2_000


class Writer(Protocol):
    """Writes one file. The bytes that its methods return, concatenated, are the file."""

    def begin(self) -> bytes:
        """Return the bytes before the first row."""

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return the bytes of a batch of `order_rows.wallet_orders`. They can be empty, if the writer buffers rows."""

    def end(self) -> bytes:
        """Return the buffered rows and the bytes after the last row."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export format.

    Args:
        make_writer: Returns a new writer; for a tax tool, from the review of the orders.
        extension: File name extension.
        media_type: Media type of the file.
        tool: The tax tool that reads the file; None for a format that contains every row as stored.
        select: Returns the statement of the rows; a tax tool has several.
        subject: What a row is, and the name of the file.
    """

    make_writer: Callable[..., Writer]
    extension: str
    media_type: str
    tool: TaxTool | None = None
    select: Callable[..., Select[Any]] = order_rows.wallet_orders
    subject: Literal["orders", "fills"] = "orders"


_PARQUET = "application/vnd.apache.parquet"
_ORDERS_METADATA = {
    "unavailable_metrics": "fees, closed profit, slices",
    "decimals": "exact, as text; coin units and USD",
}
_FILLS_METADATA = {"decimals": "exact, as text; coin units and USD, fees in fee_token"}
_CSV = "text/csv; charset=utf-8"


def _csv_writer(columns: Sequence[str], decimal_columns: Container[str]) -> Callable[[], Writer]:
    return partial(CsvWriter, columns, partial(to_cells, decimal_columns=decimal_columns))


FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat(_csv_writer(order_rows.COLUMNS, order_rows.DECIMAL_COLUMNS), "csv", _CSV),
    "parquet": ExportFormat(partial(ParquetWriter, order_rows.COLUMNS, _ORDERS_METADATA), "parquet", _PARQUET),
    "fills-csv": ExportFormat(
        _csv_writer(fill_rows.COLUMNS, fill_rows.DECIMAL_COLUMNS),
        *("csv", _CSV),
        select=fill_rows.wallet_fills,
        subject="fills",
    ),
    "fills-parquet": ExportFormat(
        partial(ParquetWriter, fill_rows.COLUMNS, _FILLS_METADATA),
        *("parquet", _PARQUET),
        select=fill_rows.wallet_fills,
        subject="fills",
    ),
    **{name: ExportFormat(TaxWriter, "csv", _CSV, tool) for name, tool in TOOLS.items()},
}
"""The formats by name."""
