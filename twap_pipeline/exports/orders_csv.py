"""A wallet's orders as CSV, a row an order, columns as in the table."""

from collections.abc import Sequence
from typing import Any

from twap_pipeline.exports.csv_format import escape_formula, format_timestamp, to_csv_bytes
from twap_pipeline.exports.rows import COLUMNS

_TEXT = frozenset({"twap_id", "asset", "side", "status", "status_error", "first_object_key", "last_object_key"})
_MOMENTS = frozenset({"started_at", "ended_at", "last_status_at"})
_FLAGS = frozenset({"is_underfilled", "reduce_only", "randomize"})


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


_TELL = [
    escape_formula if name in _TEXT else format_timestamp if name in _MOMENTS else _flag if name in _FLAGS else None
    for name in COLUMNS
]


class OrdersCsvWriter:
    """The file."""

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([COLUMNS])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return some orders."""
        return to_csv_bytes(
            [tell(value) if tell else value for tell, value in zip(_TELL, row, strict=True)] for row in batch
        )

    def end(self) -> bytes:
        """Return nothing: CSV has no end of its own."""
        return b""
