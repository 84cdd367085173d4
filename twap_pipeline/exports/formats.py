"""The export formats of a wallet's orders.

Each format has a `Writer`, which turns batches of rows into bytes. A file has one row per order, because the feed
contains no slices. To add a tax tool, add its description to `tax.tools`; to add another format, write its module and
add it to `FORMATS`. How a file is produced belongs in `export`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from twap_pipeline.exports import orders_csv
from twap_pipeline.exports.csv_format import CsvWriter
from twap_pipeline.exports.orders_parquet import OrdersParquetWriter
from twap_pipeline.exports.tax.tools import TOOLS, TaxTool
from twap_pipeline.exports.tax.writer import TaxWriter

DISCLAIMER = (
    "The feed contains no fees, no closed profit and no slices: each row is a whole order with its executed totals,"
    " and does not state a gain or a loss."
)
"""Accompanies every export from orders."""

BATCH_ROWS = 2_000


class Writer(Protocol):
    """Writes one file. The bytes that its methods return, concatenated, are the file."""

    def begin(self) -> bytes:
        """Return the bytes before the first row."""

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return the bytes of a batch of `rows.wallet_orders`. They can be empty, if the writer buffers rows."""

    def end(self) -> bytes:
        """Return the buffered rows and the bytes after the last row."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export format.

    Args:
        make_writer: Returns a new writer; for a tax tool, from the review of the orders.
        extension: File name extension.
        media_type: Media type of the file.
        tool: The tax tool that reads the file; None for a format that contains every order as stored.
    """

    make_writer: Callable[..., Writer]
    extension: str
    media_type: str
    tool: TaxTool | None = None


_CSV = "text/csv; charset=utf-8"

FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat(partial(CsvWriter, orders_csv.HEADER, orders_csv.to_cells), "csv", _CSV),
    "parquet": ExportFormat(OrdersParquetWriter, "parquet", "application/vnd.apache.parquet"),
    **{name: ExportFormat(TaxWriter, "csv", _CSV, tool) for name, tool in TOOLS.items()},
}
"""The formats by name."""
