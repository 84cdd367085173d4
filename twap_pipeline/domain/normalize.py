"""Turns the rows of a parquet object into rows of our tables, or quarantines them with a reason.

Rows of the vendor's own metadata (``_metadata``) are only counted.

Values are never corrected: a row with a value that cannot be read without loss is rejected. Parsers of single values
belong in ``parsers`` and ``timestamps``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
from polars.datatypes import DataTypeClass

from twap_pipeline.domain import parsers
from twap_pipeline.domain.source_schema import METADATA_FLAG_COLUMN, NESTED_STATE_COLUMN, ColumnMapping
from twap_pipeline.domain.status import ROW_COLUMNS, STATUS_RANK
from twap_pipeline.domain.timestamps import UTC_MICROSECONDS, EventTimeRange, to_utc

_TEXT_MAX_BYTES = {"asset": 256, "side": 256, "status": 65_536, "status_error": 65_536}
"""Maximum length of texts. PostgreSQL's index on ``asset`` cannot contain longer ones."""

_MESSAGES_OF_NULLABLE_COLUMNS = {
    "size_requested": "is not a finite decimal number",
    "size_executed": "is not a finite decimal number",
    "notional_executed": "is not a finite decimal number",
    "duration_minutes": "is not a whole number of minutes",
}
"""Nullable column → message for a value, other than NULL, that cannot be read."""


@dataclass(frozen=True, slots=True)
class _RowValidation:
    """One condition of a valid row: ``valid``, and the feed column and message of the rejection reason."""

    valid: pl.Expr
    column: str
    message: str

    def reason(self) -> pl.Expr:
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
        rows: Columns ``row_number`` and `ROW_COLUMNS`; sizes as exact text; times as Datetime µs UTC.
        rejected: Columns ``row_number``, ``reason``, ``raw_row`` (JSON).
        metadata_rows: Number of metadata rows of the vendor.
        data_warnings: Warning → number of rows.
        rejections: Column and message → the rows that were rejected for it; a row can have several reasons.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    metadata_rows: int
    data_warnings: Counter[str] = field(default_factory=Counter)
    rejections: Mapping[str, Rejections] = field(default_factory=dict)


WARNINGS_MAX = 20
"""Unknown statuses, and unknown columns, that the data warnings of an object name; further ones are only counted."""

_WARNING_TEXT_MAX = 200
_UNKNOWN_STATUS = "unknown status "
_INT64_MAX = 2**63 - 1
_NOT_IN_TIME_RANGE = "is not a time within the valid range of this object"
_NO_REJECTED_ROWS = pl.DataFrame(schema={"row_number": pl.Int64, "reason": pl.String, "raw_row": pl.String})


def normalize(
    raw: pl.DataFrame,
    mapping: ColumnMapping,
    units: Mapping[str, str | None],
    time_range: EventTimeRange,
    first_row: int = 0,
) -> NormalizedBatch:
    """Return the normalized, rejected and counted rows of a raw frame.

    Args:
        raw: Rows of the object, with a struct ``state`` or flat.
        mapping: Mapping of the object's columns.
        units: Column of times → unit of its epochs (`timestamps.infer_unit` over the whole object).
        time_range: Valid event times of the object.
        first_row: Position in the object of the frame's first row.
    """
    row_number = pl.Series("row_number", range(first_row, first_row + raw.height), pl.Int64)
    numbered = pl.DataFrame({column.name: column for column in (*flatten(raw), to_json_rows(raw), row_number)})
    events = numbered
    # Filtered frames are rechunked: polars 2.1 panics in some expressions on a column whose first chunk is empty, and
    # PanicException is not an Exception.
    if METADATA_FLAG_COLUMN in numbered.columns and numbered.schema[METADATA_FLAG_COLUMN] != pl.Null:
        events = numbered.filter(~pl.col(METADATA_FLAG_COLUMN).fill_null(value=False)).rechunk()
    parsed = _parse(events, mapping, units, time_range)
    validations = _row_validations(mapping, events.schema, time_range)
    valid = parsed.select(pl.all_horizontal(validation.valid for validation in validations)).to_series()
    rejected, rejections = _NO_REJECTED_ROWS, {}
    if not valid.all():
        invalid = parsed.filter(~valid).rechunk()
        rejected, rejections = _reject(invalid, validations), _count_rejections(invalid, validations)
        parsed = parsed.filter(valid).rechunk()
    rows = parsed[["row_number", *ROW_COLUMNS]]
    metadata_rows = numbered.height - events.height
    return NormalizedBatch(rows, rejected, metadata_rows, _data_warnings(rows, mapping), rejections)


def _reject(invalid: pl.DataFrame, validations: Sequence[_RowValidation]) -> pl.DataFrame:
    """Return invalid rows in the form of `NormalizedBatch.rejected`."""
    reason = pl.concat_str([validation.reason() for validation in validations], separator="; ", ignore_nulls=True)
    return invalid.select("row_number", reason.alias("reason"), raw_row="raw_payload")


def _count_rejections(invalid: pl.DataFrame, validations: Sequence[_RowValidation]) -> dict[str, Rejections]:
    rejections = {}
    for validation in validations:
        reasons = invalid.select("row_number", reason=validation.reason()).drop_nulls("reason")
        if reasons.height:
            name = f"{validation.column} {validation.message}"
            rejections[name] = Rejections(reasons.height, *reasons.row(0))
    return rejections


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


def flatten(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with the fields of a struct ``state`` as ``state_*`` columns."""
    if isinstance(raw.schema.get(NESTED_STATE_COLUMN), pl.Struct):
        return raw.with_columns(pl.col(NESTED_STATE_COLUMN).name.prefix_fields(f"{NESTED_STATE_COLUMN}_")).unnest(
            NESTED_STATE_COLUMN
        )
    return raw


def _parse(
    raw: pl.DataFrame, mapping: ColumnMapping, units: Mapping[str, str | None], time_range: EventTimeRange
) -> pl.DataFrame:
    """Return ``row_number``, `ROW_COLUMNS`, and the mapped raw columns as ``raw:NAME``, for rejection reasons."""
    source, schema = mapping.sources, raw.schema
    started_at = pl.lit(None, UTC_MICROSECONDS)
    if started := source.get("started_at"):
        times = pl.lit(to_utc(raw[started], units.get(started)))
        started_at = pl.when(time_range.contains(times)).then(times)  # 0 means unknown

    def optional(column: str, dtype: pl.DataType) -> pl.Expr:
        return pl.col(source[column]).cast(dtype) if column in source else pl.lit(None, dtype)

    decimals = {
        column: parsers.decimal_text(source[column], schema[source[column]])
        for column in ("size_requested", "size_executed", "notional_executed")
    }
    parsed = raw.select(
        "row_number",
        twap_id=parsers.integer_text(source["twap_id"], schema[source["twap_id"]]),
        wallet=parsers.parse_wallet(source["wallet"]),
        ts=_event_times(raw, mapping, units),
        asset=pl.col(source["asset"]).cast(pl.String),
        side=pl.col(source["side"]).cast(pl.String),
        **decimals,
        duration_minutes=parsers.parse_minutes(source["duration_minutes"], schema[source["duration_minutes"]]),
        started_at=started_at,
        reduce_only=optional("reduce_only", pl.Boolean()),
        randomize=optional("randomize", pl.Boolean()),
        raw_payload="raw_payload",
    )
    status = parsers.status_text(raw[source["status"]])
    originals = [
        (status if name == status.name else _printable(raw[name])).alias(f"raw:{name}")
        for name in dict.fromkeys((*source.values(), *mapping.event_times))
    ]
    return parsed.hstack([*parsers.split_status(status), *originals])


def _printable(column: pl.Series) -> pl.Series:
    """Return the column; as numbers if it contains times beyond the calendar, which polars cannot write as text."""
    is_beyond_calendar = column.dtype.is_temporal() and _lacks_json_form(column)
    return column.cast(_json_type(column.dtype)) if is_beyond_calendar else column


def _event_times(raw: pl.DataFrame, mapping: ColumnMapping, units: Mapping[str, str | None]) -> pl.Series:
    """Return the time of each event: of the first column in ``mapping.event_times`` that is not null.

    A value that is not null but cannot be parsed is not replaced by another column.
    """
    name, *fallbacks = mapping.event_times
    times = to_utc(raw[name], units.get(name))
    if not raw[name].null_count():
        return times
    is_present = raw[name].is_not_null()
    for fallback in fallbacks:
        times = times.zip_with(is_present, to_utc(raw[fallback], units.get(fallback)))
        is_present |= raw[fallback].is_not_null()
    return times


def _row_validations(
    mapping: ColumnMapping, schema: Mapping[str, pl.DataType], time_range: EventTimeRange
) -> list[_RowValidation]:
    source = mapping.sources
    validations = [
        _RowValidation(pl.col("twap_id").is_not_null(), source["twap_id"], "is not a whole number"),
        _RowValidation(pl.col("wallet").is_not_null(), source["wallet"], "is not 0x and 40 hex digits"),
        _RowValidation(time_range.contains(pl.col("ts")), mapping.event_times[0], _NOT_IN_TIME_RANGE),
    ]
    for column, message in _MESSAGES_OF_NULLABLE_COLUMNS.items():
        valid = pl.col(column).is_not_null() | pl.col(f"raw:{source[column]}").is_null()
        validations.append(_RowValidation(valid, source[column], message))
    if started := source.get("started_at"):
        valid = _is_started_at_valid(started, schema[started], time_range)
        validations.append(_RowValidation(valid, started, _NOT_IN_TIME_RANGE))
    for column, max_bytes in _TEXT_MAX_BYTES.items():
        valid = ~pl.col(column).str.contains("\0", literal=True) & (pl.col(column).str.len_bytes() <= max_bytes)
        message = f"contains a NUL character or is longer than {max_bytes} bytes"
        validations.append(_RowValidation(valid.fill_null(value=True), source.get(column, "status"), message))
    return validations


def _is_started_at_valid(column: str, dtype: pl.DataType, time_range: EventTimeRange) -> pl.Expr:
    """Return whether a creation time is unknown (0 or NULL in the feed) or within the time range."""
    original = pl.col(f"raw:{column}")
    unknown = original.is_null()
    if dtype == pl.String:
        unknown = unknown | (original.str.strip_chars() == "0")
    elif dtype.is_temporal():
        unknown = unknown | (original.to_physical() == 0)
    elif dtype != pl.Null:
        unknown = unknown | (original == 0)
    return unknown | time_range.contains(pl.col("started_at"))


def _data_warnings(rows: pl.DataFrame, mapping: ColumnMapping) -> Counter[str]:
    warnings: Counter[str] = Counter()
    statuses = rows["status"].value_counts().filter(~pl.col("status").is_in(STATUS_RANK).fill_null(value=False))
    for status, count in sorted(statuses.iter_rows(), key=str):
        warnings[f"{_UNKNOWN_STATUS}{_shorten(status)}, stored verbatim"] += count
    for name in mapping.unknown_columns[:WARNINGS_MAX]:
        warnings[f"unknown column {_shorten(name)}, only in raw_payload"] += rows.height
    if further := mapping.unknown_columns[WARNINGS_MAX:]:
        warnings[f"{len(further)} further unknown columns, only in raw_payload"] += rows.height
    if mapping.uses_creation_time:
        warnings["no event time column: ts is the order's creation, so later events replace earlier ones"] += (
            rows.height
        )
    return warnings


def _shorten(text: str | None) -> str:
    if text is None or len(text) <= _WARNING_TEXT_MAX:
        return repr(text)
    return f"{text[:_WARNING_TEXT_MAX]!r}... ({len(text)} characters)"


def add_warnings(total: Counter[str], added: Mapping[str, int]) -> None:
    """Add the data warnings of a batch to those of its object, with at most `WARNINGS_MAX` unknown statuses."""
    statuses = sum(warning.startswith(_UNKNOWN_STATUS) for warning in total)
    for warning, rows in added.items():
        is_new_status = warning.startswith(_UNKNOWN_STATUS) and warning not in total
        if is_new_status and statuses >= WARNINGS_MAX:
            total["further unknown statuses, stored verbatim"] += rows
        else:
            statuses += is_new_status
            total[warning] += rows
