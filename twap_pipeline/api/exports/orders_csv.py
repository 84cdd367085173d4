"""A wallet's orders as CSV, a row an order, columns as in the table."""

from collections.abc import Sequence
from typing import Any

from twap_pipeline.api.exports.csv_text import lines, moment, neutral
from twap_pipeline.storage.queries.export import COLUMNS

_TEXT = frozenset({"twap_id", "asset", "side", "status", "status_error", "first_object_key", "last_object_key"})
_MOMENTS = frozenset({"started_at", "ended_at", "status_at"})
_FLAGS = frozenset({"under_filled", "reduce_only", "randomize"})


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


_TELL = [
    neutral if name in _TEXT else moment if name in _MOMENTS else _flag if name in _FLAGS else None for name in COLUMNS
]


class OrdersCsv:
    """The file."""

    def begin(self) -> bytes:
        """Return the header."""
        return lines([COLUMNS])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return some orders."""
        return lines([tell(value) if tell else value for tell, value in zip(_TELL, row, strict=True)] for row in batch)

    def end(self) -> bytes:
        """Return nothing: CSV has no end of its own."""
        return b""
