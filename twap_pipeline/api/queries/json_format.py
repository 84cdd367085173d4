"""JSON values of the API in SQLAlchemy Core: decimals and timestamps as exact text, rows as JSON objects."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Numeric, Text, cast, func, literal_column

_RFC_3339 = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""", Text)
_UTC = literal_column("'UTC'", Text)

Expression = ColumnElement[Any]


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
