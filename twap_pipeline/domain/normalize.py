"""Turns the rows of an object of statuses into rows of ``twap_status``, or quarantines them with a reason.

Rows of the vendor's own metadata (``_metadata``) are only counted.

Values are never corrected: a row with a value that cannot be read without loss is rejected. Parsers of single values
belong in ``parsers`` and ``timestamps``; what all data sets share belongs in ``normalized_batch`` and ``payload``.
"""

from collections import Counter
from collections.abc import Mapping

import polars as pl

from twap_pipeline.domain import parsers
from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.domain.normalized_batch import (
    NOT_A_DECIMAL,
    NOT_A_WALLET,
    NOT_AN_ID,
    NOT_IN_TIME_RANGE,
    UNKNOWN_STATUS,
    NormalizedBatch,
    RowValidation,
    reject_invalid,
    shorten,
    text_validation,
    unknown_column_warnings,
)
from twap_pipeline.domain.payload import printable, to_json_rows
from twap_pipeline.domain.source_schema import METADATA_FLAG_COLUMN, NESTED_STATE_COLUMN, ColumnMapping
from twap_pipeline.domain.status import STATUS_RANK
from twap_pipeline.domain.timestamps import UTC_MICROSECONDS, EventTimeRange, to_utc

_TEXT_MAX_BYTES = {"asset": 256, "side": 256}
"""Maximum length of texts that are short or indexed. PostgreSQL's index on ``asset`` cannot contain longer ones."""

_OTHER_TEXT_MAX_BYTES = 65_536

_MESSAGES_OF_NULLABLE_COLUMNS = {
    "size_requested": NOT_A_DECIMAL,
    "size_executed": NOT_A_DECIMAL,
    "notional_executed": NOT_A_DECIMAL,
    "duration_minutes": "is not a whole number of minutes",
}
"""Nullable column → message for a value, other than NULL, that cannot be read."""


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
    payload = to_json_rows(raw)
    numbered = pl.DataFrame({column.name: column for column in (*flatten(raw), payload, row_number)})
    events = numbered
    # Filtered frames are rechunked: polars 2.1 panics in some expressions on a column whose first chunk is empty, and
    # PanicException is not an Exception.
    if METADATA_FLAG_COLUMN in numbered.columns and numbered.schema[METADATA_FLAG_COLUMN] != pl.Null:
        events = numbered.filter(~pl.col(METADATA_FLAG_COLUMN).fill_null(value=False)).rechunk()
    parsed = _parse(events, mapping, units, time_range)
    validations = [*_row_validations(mapping, events.schema, time_range), *_text_validations(mapping, parsed.schema)]
    valid, rejected, rejections = reject_invalid(
        parsed, validations, lambda row_numbers: payload.gather(row_numbers - first_row)
    )
    rows = valid[["row_number", *TWAP_STATUS.row_columns]]
    metadata_rows = numbered.height - events.height
    return NormalizedBatch(rows, rejected, metadata_rows, _data_warnings(rows, mapping), rejections)


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
    """Return ``row_number``, the row columns, and the mapped raw columns as ``raw:NAME``, for rejection reasons."""
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
        (status if name == status.name else printable(raw[name])).alias(f"raw:{name}")
        for name in dict.fromkeys((*source.values(), *mapping.event_times))
    ]
    return parsed.hstack([*parsers.split_status(status), *originals])


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
) -> list[RowValidation]:
    source = mapping.sources
    validations = [
        RowValidation(pl.col("twap_id").is_not_null(), source["twap_id"], NOT_AN_ID),
        RowValidation(pl.col("wallet").is_not_null(), source["wallet"], NOT_A_WALLET),
        RowValidation(time_range.contains(pl.col("ts")), mapping.event_times[0], NOT_IN_TIME_RANGE),
    ]
    for column, message in _MESSAGES_OF_NULLABLE_COLUMNS.items():
        valid = pl.col(column).is_not_null() | pl.col(f"raw:{source[column]}").is_null()
        validations.append(RowValidation(valid, source[column], message))
    if started := source.get("started_at"):
        valid = _is_started_at_valid(started, schema[started], time_range)
        validations.append(RowValidation(valid, started, NOT_IN_TIME_RANGE))
    return validations


def _text_validations(mapping: ColumnMapping, schema: Mapping[str, pl.DataType]) -> list[RowValidation]:
    """Return a validation of each text column, except texts of numbers and JSON, which are valid."""
    valid = (TWAP_STATUS.json_column, *_MESSAGES_OF_NULLABLE_COLUMNS)
    return [
        # status_error has no feed column: it is a part of the status.
        text_validation(
            column, mapping.sources.get(column, "status"), _TEXT_MAX_BYTES.get(column, _OTHER_TEXT_MAX_BYTES)
        )
        for column in TWAP_STATUS.content_columns
        if schema[column] == pl.String and column not in valid
    ]


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
        warnings[f"{UNKNOWN_STATUS}{shorten(status)}, stored verbatim"] += count
    warnings.update(unknown_column_warnings(mapping.unknown_columns, rows.height, "raw_payload"))
    if mapping.uses_creation_time:
        warnings["no event time column: ts is the order's creation, so later events replace earlier ones"] += (
            rows.height
        )
    return warnings
