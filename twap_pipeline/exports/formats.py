"""The export formats of a wallet's orders and fills.

Each format has a `Writer`, which turns batches of rows into bytes. A file has one row per order or per fill. To add a
tax tool, add its description to `tax.tools`; to add another format, write its module and add it to `FORMATS`. How a
file is produced belongs in `export`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from twap_pipeline.exports.csv_format import CsvWriter
from twap_pipeline.exports.parquet_format import ParquetWriter
from twap_pipeline.exports.rows import FILL_COLUMNS, ORDER_COLUMNS, Subject
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
        """Return the bytes of a batch of `rows.select_rows`. They can be empty, if the writer buffers rows."""

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
        subject: What a row is, and the name of the file.
    """

    make_writer: Callable[..., Writer]
    extension: str
    media_type: str
    tool: TaxTool | None = None
    subject: Subject = "orders"


_PARQUET = "application/vnd.apache.parquet"
_ORDERS_METADATA = {
    "unavailable_metrics": "fees, closed profit, slices",
    "decimals": "exact, as text; coin units and USD",
}
_FILLS_METADATA = {"decimals": "exact, as text; coin units and USD, fees in fee_token"}
_CSV = "text/csv; charset=utf-8"

FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat(partial(CsvWriter, ORDER_COLUMNS), "csv", _CSV),
    "parquet": ExportFormat(partial(ParquetWriter, ORDER_COLUMNS, _ORDERS_METADATA), "parquet", _PARQUET),
    "fills-csv": ExportFormat(partial(CsvWriter, FILL_COLUMNS), "csv", _CSV, subject="fills"),
    "fills-parquet": ExportFormat(
        partial(ParquetWriter, FILL_COLUMNS, _FILLS_METADATA), "parquet", _PARQUET, subject="fills"
    ),
    **{name: ExportFormat(TaxWriter, "csv", _CSV, tool) for name, tool in TOOLS.items()},
}
"""The formats by name."""
