"""Writes the file of any tax tool; implements `formats.Writer`.

Text is not escaped for spreadsheets: a tool compares symbols character by character.
"""

from collections.abc import Sequence
from typing import Any

from twap_pipeline.exports.csv_format import to_csv_bytes
from twap_pipeline.exports.tax.entry import Entry
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline.exports.tax.tools import Cell, TaxTool


class TaxWriter:
    """Writes one line per entry, without the orders that the completed review of the same rows skipped."""

    def __init__(self, review: TaxReview) -> None:
        self._review = review

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([list(self._review.tool.columns)])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return the lines of the rows whose order the review did not skip.

        Raises:
            NotATradeError: A row that the review did not see cannot be written.
        """
        review = self._review
        rows = (dict(zip(review.columns, row, strict=True)) for row in batch)
        kept = (row for row in rows if row["twap_id"] not in review.skipped)
        return to_csv_bytes(entry_to_cells(entry, review.tool) for row in kept for entry in review.to_entries(row))

    def end(self) -> bytes:
        """Return no bytes: a CSV file has no footer."""
        return b""


def entry_to_cells(entry: Entry, tool: TaxTool) -> list[str]:
    """Return the cells of an entry in the columns of a tool."""
    is_truncated = any(map(tool.truncates, entry.amounts.values()))
    note = f", amounts truncated to {tool.decimals_max} decimals" if is_truncated else ""
    values = {
        **{cell: tool.accepted(quantity) for cell, quantity in entry.amounts.items()},
        **entry.texts,
        Cell.DATE: entry.at.strftime(tool.date_format),
        Cell.LABEL: tool.labels[entry.label],
        Cell.ROW_ID: entry.row_id,
        Cell.DESCRIPTION: entry.description + note,
    }
    return [values.get(content, "") if isinstance(content, Cell) else content for content in tool.columns.values()]
