"""How a value is to_json_value: decimals and times as exact text, rows as JSON objects."""

from typing import Any

from sqlalchemy import ColumnElement, DateTime, Numeric, Text, cast, func, literal_column

_MOMENT = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""", Text)
_UTC = literal_column("'UTC'", Text)

Expression = ColumnElement[Any]


def to_json_value(column: Expression) -> Expression:
    """Return a column as it is to_json_value: decimals and sums as text, times as RFC 3339, all else as it is."""
    if isinstance(column.type, DateTime):
        return func.to_char(func.timezone(_UTC, column), _MOMENT)
    if isinstance(column.type, Numeric):
        return cast(column, Text)
    return column


def json_object(**columns: Expression) -> ColumnElement[str]:
    """Return a row's JSON as text, keys in the order given."""
    parts = [
        part for name, column in columns.items() for part in (literal_column(f"'{name}'", Text), to_json_value(column))
    ]
    return cast(func.json_build_object(*parts), Text)


def rfc3339_sql(expression: str) -> str:
    """Return SQL for a time as it is to_json_value."""
    return f"""to_char(({expression}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
