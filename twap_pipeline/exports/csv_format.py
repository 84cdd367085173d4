"""CSV (RFC 4180): the writer, and the protection of spreadsheets from formulas."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from unicodedata import category as _category

from twap_pipeline.exports.rows import DECIMAL_COLUMNS

_FORMULA_STARTS = frozenset("=+-@\N{MINUS SIGN}")


def escape_formula(text: str | None) -> str | None:
    """Return text with an apostrophe before it if a spreadsheet would execute it as a formula.

    That is text that begins with a control character, or with one of ``= + - @`` in any width, after any white space
    and invisible characters: spreadsheets and their import filters remove these (OWASP, CSV Injection).
    """
    return f"'{text}" if text and (_category(text[0]) == "Cc" or _first_visible(text) in _FORMULA_STARTS) else text


def _first_visible(text: str) -> str:
    """Return the first character that is not white space and not invisible, in its normal width; '' without any."""
    visible = next((character for character in text if _category(character)[0] not in "ZCM"), "")
    return unicodedata.normalize("NFKC", visible)[:1]


def format_timestamp(timestamp: datetime | None) -> str | None:
    """Return a UTC timestamp as RFC 3339 with microseconds."""
    return None if timestamp is None else f"{timestamp:%Y-%m-%dT%H:%M:%S.%f}Z"


def _to_cell(name: str, value: object) -> object:
    match value:
        case str() if name not in DECIMAL_COLUMNS:
            return escape_formula(value)
        case datetime():
            return format_timestamp(value)
        case bool():
            return str(value).lower()
    return value


def to_csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV in UTF-8; None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class CsvWriter:
    """Writes a CSV file with one line per row; implements `formats.Writer`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """Return the header."""
        return to_csv_bytes([self._columns])

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Return one line per row: text without formulas, timestamps as RFC 3339, decimals as they are."""
        return to_csv_bytes([_to_cell(*cell) for cell in zip(self._columns, row, strict=True)] for row in batch)

    def end(self) -> bytes:
        """Return no bytes: a CSV file has no footer."""
        return b""
