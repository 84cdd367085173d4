"""The export formats of a wallet's orders.

Each format has a `Writer`, which turns batches of rows into bytes. A file has one row per order, because the feed
contains no slices. To add a format, write its module and add it to `FORMATS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from twap_pipeline.exports import orders_csv, tax_csv
from twap_pipeline.exports.csv_format import CsvWriter
from twap_pipeline.exports.orders_parquet import OrdersParquetWriter

DISCLAIMER = (
    "The feed contains no fees, no closed profit and no slices: each row is a whole order with its executed totals,"
    " and does not state a gain or a loss."
)
"""Accompanies every export."""

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
        make_writer: Returns a new writer.
        extension: File name extension.
        media_type: Media type of the file.
        executed_only: Whether the file excludes orders that executed nothing.
        warning: A limitation of this format, in addition to `DISCLAIMER`.
    """

    make_writer: Callable[[], Writer]
    extension: str
    media_type: str
    executed_only: bool = False
    warning: str = ""


_CSV = "text/csv; charset=utf-8"
_PERPETUALS = (
    "Each row is a trade of the coin against USD, which is correct for spot orders. Remove the rows of perpetuals: tax"
    " tools need their realized profit and loss, which the feed does not contain."
)

FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat(partial(CsvWriter, orders_csv.HEADER, orders_csv.to_cells), "csv", _CSV),
    "parquet": ExportFormat(OrdersParquetWriter, "parquet", "application/vnd.apache.parquet"),
    "koinly": ExportFormat(
        partial(CsvWriter, tax_csv.KOINLY_HEADER, tax_csv.to_koinly_cells), "csv", _CSV, True, _PERPETUALS
    ),
    "cointracker": ExportFormat(
        partial(CsvWriter, tax_csv.COINTRACKER_HEADER, tax_csv.to_cointracker_cells), "csv", _CSV, True, _PERPETUALS
    ),
}
"""The formats by name."""
