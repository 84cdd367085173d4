"""JSON values of the API in SQLAlchemy Core: decimals and times as exact text, rounded average prices, JSON objects."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Numeric, Text, cast, func, literal_column

_RFC_3339 = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""", Text)
_UTC = literal_column("'UTC'", Text)

Expression = ColumnElement[Any]

SIGNIFICANT_DIGITS = 10
"""Of average prices, which are quotients. ``orders.sql`` and ``active_orders.sql`` round in the same way."""


def to_json_value(column: Expression) -> Expression:
    """Return decimals and sums as text, timestamps as RFC 3339 in UTC, and any other column unchanged."""
    if isinstance(column.type, DateTime):
        return func.to_char(func.timezone(_UTC, column), _RFC_3339)
    if isinstance(column.type, Numeric):
        return cast(column, Text)
    return column


def json_object(**columns: Expression) -> Expression:
    """Return a JSON object; the keys keep the order of the arguments."""
    parts = [
        part for name, column in columns.items() for part in (literal_column(f"'{name}'", Text), to_json_value(column))
    ]
    return func.json_build_object(*parts)


def json_text(**columns: Expression) -> ColumnElement[str]:
    """Return the text of a JSON object; the keys keep the order of the arguments."""
    return cast(json_object(**columns), Text)


def to_significant(column: Expression) -> Expression:
    """Return a decimal rounded to `SIGNIFICANT_DIGITS` significant digits, without trailing zeros.

    A quotient has no exact decimal; rounded after a fixed number of places, the price of a cheap coin would be 0.
    `to_char` rounds in decimals; it needs a tenth of the time of a logarithm.
    """
    pattern = literal_column(f"'9.{'9' * (SIGNIFICANT_DIGITS - 1)}EEEE'", Text)
    return func.trim_scale(cast(func.to_char(column, pattern), Numeric), type_=Numeric)
