"""The result of normalizing a raw frame, for every data set: rows by outcome, reasons and data warnings.

A normalizer parses the values, states its conditions as `RowValidation`, and calls `reject_invalid`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

WARNINGS_MAX = 20
"""Unknown statuses, and unknown columns, that the data warnings of an object name; further ones are only counted."""

_WARNING_TEXT_MAX = 200
UNKNOWN_STATUS = "unknown status "
"""Begin of the data warnings of unknown statuses."""

NOT_IN_TIME_RANGE = "is not a time within the valid range of this object"
NOT_AN_ID = "is not a whole number"
NOT_A_WALLET = "is not 0x and 40 hex digits"
NOT_A_DECIMAL = "is not a finite decimal number"

_NO_REJECTED_ROWS = pl.DataFrame(schema={"row_number": pl.Int64, "reason": pl.String, "raw_row": pl.String})


@dataclass(frozen=True, slots=True)
class RowValidation:
    """One condition of a valid row: ``valid``, and the feed column and message of the rejection reason."""

    valid: pl.Expr
    column: str
    message: str

    def reason(self) -> pl.Expr:
        """Return the reason of each rejected row, with its value; null for the others."""
        text = pl.col(f"raw:{self.column}").cast(pl.String).str.slice(0, 80).fill_null("NULL")
        printable = text.str.replace_all("\0", "\\0", literal=True)
        return pl.when(~self.valid).then(pl.format("{} {}: {}", pl.lit(self.column), pl.lit(self.message), printable))


class Rejections(NamedTuple):
    """Rows that were rejected for one reason, which is a column and a message.

    Args:
        rows: Number of rows.
        first_row: Position in the object of the first one.
        example: Reason of the first one, with its value.
    """

    rows: int
    first_row: int
    example: str

    def including(self, later: "Rejections") -> "Rejections":
        """Return these rows and those of a later batch; the first row stays the example."""
        return self._replace(rows=self.rows + later.rows)


@dataclass(frozen=True, slots=True)
class NormalizedBatch:
    """The rows of a raw frame, by outcome.

    Args:
        rows: ``row_number`` and the row columns of the data set; decimals as exact text; times as Datetime µs UTC.
        rejected: Columns ``row_number``, ``reason``, ``raw_row`` (JSON).
        metadata_rows: Number of rows that are not of the data set.
        data_warnings: Warning → number of rows.
        rejections: Column and message → the rows that were rejected for it; a row can have several reasons.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    metadata_rows: int
    data_warnings: Counter[str] = field(default_factory=Counter)
    rejections: Mapping[str, Rejections] = field(default_factory=dict)


def reject_invalid(
    parsed: pl.DataFrame, validations: Sequence[RowValidation], encode_rows: Callable[[pl.Series], pl.Series]
) -> tuple[pl.DataFrame, pl.DataFrame, Mapping[str, Rejections]]:
    """Return the valid rows, the rejected rows, and the reasons; the last two as in `NormalizedBatch`.

    Args:
        parsed: ``row_number``, the columns that the validations read, and the raw columns as ``raw:NAME``, for the
            reasons.
        validations: The conditions of a valid row.
        encode_rows: Returns the raw rows with these row numbers as JSON.
    """
    valid = parsed.select(pl.all_horizontal(validation.valid for validation in validations)).to_series()
    if valid.all():
        return parsed, _NO_REJECTED_ROWS, {}
    # Filtered frames are rechunked: polars 2.1 panics in some expressions on a column whose first chunk is empty, and
    # PanicException is not an Exception.
    invalid = parsed.filter(~valid).rechunk()
    reason = pl.concat_str([validation.reason() for validation in validations], separator="; ", ignore_nulls=True)
    rejected = invalid.select("row_number", reason.alias("reason"), raw_row=encode_rows(invalid["row_number"]))
    return parsed.filter(valid).rechunk(), rejected, _count_rejections(invalid, validations)


def _count_rejections(invalid: pl.DataFrame, validations: Sequence[RowValidation]) -> dict[str, Rejections]:
    rejections = {}
    for validation in validations:
        reasons = invalid.select("row_number", reason=validation.reason()).drop_nulls("reason")
        if reasons.height:
            name = f"{validation.column} {validation.message}"
            rejections[name] = Rejections(reasons.height, *reasons.row(0))
    return rejections


def text_validation(column: str, source: str, max_bytes: int) -> RowValidation:
    """Return the condition that a text can be stored: it has no NUL character and is not too long."""
    valid = ~pl.col(column).str.contains("\0", literal=True) & (pl.col(column).str.len_bytes() <= max_bytes)
    message = f"contains a NUL character or is longer than {max_bytes} bytes"
    return RowValidation(valid.fill_null(value=True), source, message)


def unknown_column_warnings(unknown_columns: Sequence[str], rows: int, json_column: str) -> Counter[str]:
    """Return the data warnings of columns that this code does not know: they are in the JSON column only."""
    warnings: Counter[str] = Counter()
    for name in unknown_columns[:WARNINGS_MAX]:
        warnings[f"unknown column {shorten(name)}, only in {json_column}"] += rows
    if further := unknown_columns[WARNINGS_MAX:]:
        warnings[f"{len(further)} further unknown columns, only in {json_column}"] += rows
    return warnings


def shorten(text: str | None) -> str:
    """Return a text of the feed in quotes, cut to a length that a data warning can contain."""
    if text is None or len(text) <= _WARNING_TEXT_MAX:
        return repr(text)
    return f"{text[:_WARNING_TEXT_MAX]!r}... ({len(text)} characters)"


def add_warnings(total: Counter[str], added: Mapping[str, int]) -> None:
    """Add the data warnings of a batch to those of its object, with at most `WARNINGS_MAX` unknown statuses."""
    statuses = sum(warning.startswith(UNKNOWN_STATUS) for warning in total)
    for warning, rows in added.items():
        is_new_status = warning.startswith(UNKNOWN_STATUS) and warning not in total
        if is_new_status and statuses >= WARNINGS_MAX:
            total["further unknown statuses, stored verbatim"] += rows
        else:
            statuses += is_new_status
            total[warning] += rows
