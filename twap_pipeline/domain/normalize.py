"""Raw frame → canonical frame: the one place where the feed's rows become ours.

Every row of the raw frame ends in exactly one of three: a canonical row, a rejected row with its reason, or
metadata_rows. Nothing is mended by guessing and nothing disappears.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from polars.datatypes import DataTypeClass

from twap_pipeline.domain import parsers
from twap_pipeline.domain.source_schema import METADATA_FLAG_COLUMN, NESTED_STATE_COLUMN, ColumnMapping
from twap_pipeline.domain.status import ROW_COLUMNS, STATUS_RANK
from twap_pipeline.domain.timestamps import UTC_MICROSECONDS, EventTimeRange, to_utc

_TEXT_MAX_BYTES = {"asset": 256, "side": 256, "status": 65_536, "status_error": 65_536}
"""Longer texts are no names; PostgreSQL's index on ``asset`` could not hold them."""


_MAY_BE_NULL = {
    "size_requested": "is not a finite decimal number",
    "size_executed": "is not a finite decimal number",
    "notional_executed": "is not a finite decimal number",
    "duration_minutes": "is not a whole number of minutes",
}
"""Columns where the feed's own NULL is taken, and what is wrong where another value could not be read."""


@dataclass(frozen=True, slots=True)
class _RowValidation:
    valid: pl.Expr
    column: str
    message: str

    def reason(self) -> pl.Expr:
        text = pl.col(f"raw:{self.column}").cast(pl.String).str.slice(0, 80).fill_null("NULL")
        shown = text.str.replace_all("\0", "\\0", literal=True)
        return pl.when(~self.valid).then(pl.format("{} {}: {}", pl.lit(self.column), pl.lit(self.message), shown))


@dataclass(frozen=True, slots=True)
class NormalizedBatch:
    """What became of a raw frame's rows.

    Args:
        rows: ``row_number`` and `ROW_COLUMNS`; sizes as exact text; times Datetime µs UTC.
        rejected: ``row_number``, ``reason``, ``raw_row`` (JSON).
        metadata_rows: Number of the vendor's metadata_rows rows.
        data_warnings: What a person should hear of, with the number of rows.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    metadata_rows: int
    data_warnings: Counter[str] = field(default_factory=Counter)


_NOTHING_REJECTED = pl.DataFrame(schema={"row_number": pl.Int64, "reason": pl.String, "raw_row": pl.String})


def normalize(
    raw: pl.DataFrame,
    mapping: ColumnMapping,
    units: Mapping[str, str | None],
    window: EventTimeRange,
    first_row: int = 0,
) -> NormalizedBatch:
    """Turn raw rows into canonical rows.

    Args:
        raw: Rows as the object holds them, nested ``state`` or flat.
        mapping: How its columns are read.
        units: Column of times → unit of its numbers (`timestamps.infer_unit` over the whole object).
        window: The times that an event of this object can have.
        first_row: Place in the object of the frame's first row.
    """
    row_number = pl.Series("row_number", range(first_row, first_row + raw.height), pl.Int64)
    numbered = pl.DataFrame({column.name: column for column in (*flatten(raw), to_json_rows(raw), row_number)})
    events = numbered
    # What filters leave is put in one piece: polars 2.1 panics in some expressions over a column whose first piece is
    # empty, and a panic is no Exception.
    if METADATA_FLAG_COLUMN in numbered.columns and numbered.schema[METADATA_FLAG_COLUMN] != pl.Null:
        events = numbered.filter(~pl.col(METADATA_FLAG_COLUMN).fill_null(value=False)).rechunk()
    canonical = _canonical(events, mapping, units, window)
    checks = _checks(mapping, events.schema, window)
    valid = canonical.select(pl.all_horizontal(check.valid for check in checks)).to_series()
    rejected = _NOTHING_REJECTED
    if not valid.all():
        rejected = _rejected(canonical.filter(~valid).rechunk(), checks)
        canonical = canonical.filter(valid).rechunk()
    rows = canonical[["row_number", *ROW_COLUMNS]]
    return NormalizedBatch(rows, rejected, numbered.height - events.height, _findings(rows, mapping))


def _rejected(invalid: pl.DataFrame, checks: Sequence[_RowValidation]) -> pl.DataFrame:
    """Return rows that fail a check as `NormalizedBatch` has them."""
    reason = pl.concat_str([check.reason() for check in checks], separator="; ", ignore_nulls=True)
    return invalid.select("row_number", reason.alias("reason"), raw_row="raw_payload")


def to_json_rows(raw: pl.DataFrame) -> pl.Series:
    """Return each whole row as JSON text; numbers that JSON has no word for (NaN) turn their column into text."""
    if raw.is_empty():
        return pl.Series("raw_payload", [], pl.String)
    if any(_has_nan_or_inf(column) for column in raw):
        columns = [column.cast(_as_text(column.dtype)) if _has_nan_or_inf(column) else column for column in raw]
        raw = pl.DataFrame({column.name: column for column in columns})
    return raw.to_struct("raw_payload").struct.json_encode()


def _has_nan_or_inf(column: pl.Series) -> bool:
    """Whether a column of doubles, at any depth, holds NaN or an infinity."""
    dtype = column.dtype
    if dtype.is_float():
        plain = column.alias("")  # polars reads a name like ^a.*$ as a pattern
        return not plain.is_finite().all()
    if isinstance(dtype, pl.Struct):
        return any(_has_nan_or_inf(column.struct.field(field.name)) for field in dtype.fields)
    return isinstance(dtype, pl.List) and _has_nan_or_inf(column.explode().drop_nulls())


def _as_text(dtype: DataTypeClass | pl.DataType) -> DataTypeClass | pl.DataType:
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, _as_text(field.dtype)) for field in dtype.fields])
    if isinstance(dtype, pl.List):
        return pl.List(_as_text(dtype.inner))
    return pl.String() if dtype in (pl.Float32, pl.Float64) else dtype


def flatten(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with a struct ``state`` unfolded into ``state_*`` columns."""
    if isinstance(raw.schema.get(NESTED_STATE_COLUMN), pl.Struct):
        return raw.with_columns(pl.col(NESTED_STATE_COLUMN).name.prefix_fields(f"{NESTED_STATE_COLUMN}_")).unnest(
            NESTED_STATE_COLUMN
        )
    return raw


def _canonical(
    raw: pl.DataFrame, mapping: ColumnMapping, units: Mapping[str, str | None], window: EventTimeRange
) -> pl.DataFrame:
    """Return ``row_number`` and `ROW_COLUMNS` beside the raw columns under ``raw:`` names, for the reasons."""
    source, schema = mapping.sources, raw.schema
    started_at = pl.lit(None, UTC_MICROSECONDS)
    if started := source.get("started_at"):
        times = pl.lit(to_utc(raw[started], units.get(started)))
        started_at = pl.when(window.contains(times)).then(times)  # 0: unknown

    def optional(ours: str, dtype: pl.DataType) -> pl.Expr:
        return pl.col(source[ours]).cast(dtype) if ours in source else pl.lit(None, dtype)

    decimals = {
        ours: parsers.decimal_text(source[ours], schema[source[ours]])
        for ours in ("size_requested", "size_executed", "notional_executed")
    }
    canonical = raw.select(
        "row_number",
        twap_id=parsers.integer_text(source["twap_id"], schema[source["twap_id"]]),
        wallet=parsers.wallet(source["wallet"]),
        ts=_event_times(raw, mapping, units),
        asset=pl.col(source["asset"]).cast(pl.String),
        side=pl.col(source["side"]).cast(pl.String),
        **decimals,
        duration_minutes=parsers.minutes(source["duration_minutes"], schema[source["duration_minutes"]]),
        started_at=started_at,
        reduce_only=optional("reduce_only", pl.Boolean()),
        randomize=optional("randomize", pl.Boolean()),
        raw_payload="raw_payload",
    )
    status = parsers.status_text(raw[source["status"]])
    originals = [
        (status if name == status.name else raw[name]).alias(f"raw:{name}")
        for name in dict.fromkeys((*source.values(), *mapping.event_times))
    ]
    return canonical.hstack([*parsers.split_status(status), *originals])


def _event_times(raw: pl.DataFrame, mapping: ColumnMapping, units: Mapping[str, str | None]) -> pl.Series:
    """Return when each event happened: the best column that has a value says it.

    A time that is there but unreadable is not made up for by another.
    """
    name, *others = mapping.event_times
    times = to_utc(raw[name], units.get(name))
    if not raw[name].null_count():
        return times
    said = raw[name].is_not_null()
    for other in others:
        times = times.zip_with(said, to_utc(raw[other], units.get(other)))
        said |= raw[other].is_not_null()
    return times


def _checks(mapping: ColumnMapping, schema: Mapping[str, pl.DataType], window: EventTimeRange) -> list[_RowValidation]:
    source = mapping.sources
    checks = [
        _RowValidation(pl.col("twap_id").is_not_null(), source["twap_id"], "is not a whole number"),
        _RowValidation(pl.col("wallet").is_not_null(), source["wallet"], "is not 0x and 40 hex digits"),
        _RowValidation(window.contains(pl.col("ts")), mapping.event_times[0], "is no time of this object's window"),
    ]
    for ours, message in _MAY_BE_NULL.items():
        read = pl.col(ours).is_not_null() | pl.col(f"raw:{source[ours]}").is_null()
        checks.append(_RowValidation(read, source[ours], message))
    if started := source.get("started_at"):
        valid = _started_or_unknown(started, schema[started], window)
        checks.append(_RowValidation(valid, started, "is no time of this object's window"))
    for ours, limit in _TEXT_MAX_BYTES.items():
        valid = ~pl.col(ours).str.contains("\0", literal=True) & (pl.col(ours).str.len_bytes() <= limit)
        message = f"holds a NUL character or is longer than {limit} bytes"
        checks.append(_RowValidation(valid.fill_null(value=True), source.get(ours, "status"), message))
    return checks


def _started_or_unknown(column: str, dtype: pl.DataType, window: EventTimeRange) -> pl.Expr:
    """The feed writes 0 or nothing for a creation time that it does not know; any other must be a time."""
    original = pl.col(f"raw:{column}")
    unknown = original.is_null()
    if dtype == pl.String:
        unknown = unknown | (original.str.strip_chars() == "0")
    elif dtype.is_temporal():
        unknown = unknown | (original.to_physical() == 0)
    elif dtype != pl.Null:
        unknown = unknown | (original == 0)
    return unknown | window.contains(pl.col("started_at"))


def _findings(rows: pl.DataFrame, mapping: ColumnMapping) -> Counter[str]:
    data_warnings: Counter[str] = Counter()
    strange = set(rows["status"].unique()) - set(STATUS_RANK)
    for name in sorted(strange, key=str):
        count = int(rows["status"].eq_missing(name).sum())
        data_warnings[f"unknown status {name!r}, stored as it is"] += count
    for name in mapping.unknown_columns:
        data_warnings[f"unknown column {name!r}, kept in raw_payload"] += rows.height
    if mapping.uses_creation_time:
        data_warnings["no column of event times: ts is the order's creation, later events hide earlier ones"] += (
            rows.height
        )
    return data_warnings
