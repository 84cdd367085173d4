"""The format ``csv``: the columns of `rows.COLUMNS`, decimals as exact text, times as RFC 3339."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twap_pipeline.exports.csv_format import escape_formula, format_timestamp
from twap_pipeline.exports.rows import COLUMNS, DECIMAL_COLUMNS

HEADER = COLUMNS


def to_cells(order: Mapping[str, Any]) -> list[object]:
    """Return the cells of an order."""
    return [value if name in DECIMAL_COLUMNS else _to_cell(value) for name, value in order.items()]


def _to_cell(value: object) -> object:
    match value:
        case str():
            return escape_formula(value)
        case datetime():
            return format_timestamp(value)
        case bool():
            return str(value).lower()
    return value
