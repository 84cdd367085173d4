"""CSV that a spreadsheet cannot mistake for formulas: RFC 4180, with text made harmless and numbers left alone."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is run by spreadsheets as a formula. Source: OWASP, CSV Injection."""


def escape_formula(text: str | None) -> str | None:
    """Return text that no spreadsheet runs: an apostrophe before what could begin a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA_STARTS) else text


def format_timestamp(at: datetime | None) -> str | None:
    """Return a time, UTC, as the API tells it."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def to_csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV to_csv_bytes; None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
