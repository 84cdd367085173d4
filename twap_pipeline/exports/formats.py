"""Files of a wallet's orders: rows in, bytes out, a batch at a time, whoever reads the rows.

Each format is a `Writer`; one aggregate row or trade per order, since the feed has no slices. Where the rows come from
is `storage.queries.export`; how they reach a caller is the route's or the command's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twap_pipeline.exports.orders_csv import OrdersCsvWriter
from twap_pipeline.exports.orders_parquet import OrdersParquetWriter
from twap_pipeline.exports.tax_csv import CoinTrackerWriter, KoinlyWriter

DISCLAIMER = (
    "Fees, closed profit and slices are not in this feed: each row is a whole order with its executed totals, and no"
    " gain or loss follows from it."
)
"""What every receiver of an export must know."""

BATCH_ROWS = 2_000


class Writer(Protocol):
    """One file on its way; the bytes of its three parts together are the file."""

    def begin(self) -> bytes:
        """Return what stands before the first row."""

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return some rows, of `storage.queries.export.COLUMNS`; perhaps nothing yet."""

    def end(self) -> bytes:
        """Return what is left, and what stands after the last row."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A kind of file.

    Args:
        writer: Makes a writer for one file.
        extension: Of the file's name.
        media_type: Of the file.
        executed_only: Whether orders that executed nothing have no place in it.
        warning: What its receiver must know beside `DISCLAIMER`.
    """

    writer: Callable[[], Writer]
    extension: str
    media_type: str
    executed_only: bool = False
    warning: str = ""


_PERPETUALS = (
    "A row is a trade of the coin against USD. That is right for spot orders; for perpetuals tax tools want realized"
    " profit and loss instead, which this feed does not have: leave those rows out."
)

FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat(OrdersCsvWriter, "csv", "text/csv; charset=utf-8"),
    "parquet": ExportFormat(OrdersParquetWriter, "parquet", "application/vnd.apache.parquet"),
    "koinly": ExportFormat(KoinlyWriter, "csv", "text/csv; charset=utf-8", executed_only=True, warning=_PERPETUALS),
    "cointracker": ExportFormat(
        CoinTrackerWriter, "csv", "text/csv; charset=utf-8", executed_only=True, warning=_PERPETUALS
    ),
}
"""Every format by its name."""
