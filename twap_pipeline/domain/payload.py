"""Writes the rows of a raw frame as JSON text that PostgreSQL can store, without loss.

Functions for values that polars cannot write as text belong here. What the rows mean belongs in ``normalize`` and
``fills``.
"""

import polars as pl
from polars.datatypes import DataTypeClass

_INT64_MAX = 2**63 - 1


def to_json_rows(raw: pl.DataFrame) -> pl.Series:
    r"""Return each row as JSON text that PostgreSQL can read in every way.

    At any depth, a column with NaN or infinity, which JSON lacks, is converted to text, and a column with times beyond
    the calendar to numbers. NUL, which PostgreSQL's texts lack, becomes the six characters ``\u0000``. Backslashes
    directly before ``u0000`` are doubled, so this is reversible: each pair of such backslashes is one, and an odd one
    with ``u0000`` is NUL.
    """
    if raw.is_empty():
        return pl.Series("raw_payload", [], pl.String)
    lacking = [column for column in raw if _lacks_json_form(column)]
    raw = raw.with_columns(pl.Series(column.name, column.cast(_json_type(column.dtype))) for column in lacking)
    rows = raw.to_struct("raw_payload").struct.json_encode()
    if rows.str.contains(r"\u0000", literal=True).any():
        # The escape sequence of NUL has an odd number of backslashes, that of the text \u0000 an even one: both double.
        rows = rows.str.replace_all(r"(\\+)u0000", "${1}${1}u0000")
    return rows


_CALENDAR_DAYS = 90_000_000
"""Days before and after 1970 that polars can write as a date: 246,000 years."""

_TICKS_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def _lacks_json_form(column: pl.Series) -> bool:
    """Return whether a column, at any depth, contains a value that polars cannot write as JSON without loss."""
    dtype = column.dtype
    unnamed = column.alias("")  # polars interprets a name like ^a.*$ as a pattern
    if dtype.is_float():
        return not unnamed.is_finite().all()
    if isinstance(dtype, pl.Date | pl.Datetime):
        limit = _CALENDAR_DAYS * (_TICKS_PER_DAY[dtype.time_unit] if isinstance(dtype, pl.Datetime) else 1)
        return not unnamed.to_physical().is_between(-min(limit, _INT64_MAX), min(limit, _INT64_MAX)).all()
    if isinstance(dtype, pl.Struct):
        return any(_lacks_json_form(column.struct.field(field.name)) for field in dtype.fields)
    if isinstance(dtype, pl.Map):
        return dtype.key != pl.String or _lacks_json_form(unnamed.map.values().explode().drop_nulls())
    return isinstance(dtype, pl.List | pl.Array) and _lacks_json_form(column.explode().drop_nulls())


def _json_type(dtype: DataTypeClass | pl.DataType) -> DataTypeClass | pl.DataType:
    """Return the type to which a column is cast that contains such values."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, _json_type(field.dtype)) for field in dtype.fields])
    if isinstance(dtype, pl.List):
        return pl.List(_json_type(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_json_type(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Map):
        return pl.Map(pl.String, _json_type(dtype.value))
    if isinstance(dtype, pl.Date | pl.Datetime):
        return pl.Int64()
    return pl.String() if dtype.is_float() else dtype


def printable(column: pl.Series) -> pl.Series:
    """Return the column; as numbers if it contains times beyond the calendar, which polars cannot write as text."""
    is_beyond_calendar = column.dtype.is_temporal() and _lacks_json_form(column)
    return column.cast(_json_type(column.dtype)) if is_beyond_calendar else column
