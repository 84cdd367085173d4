"""Which column of an object feeds which column of ours: found once per object, from its schema alone.

The exchange's words stay here. An object either has every required column under its exact name or is refused: a
renamed column must never become a silent NULL.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataTypeClass

from twap_pipeline.errors import ObjectInvalidError

REQUIRED_COLUMNS: dict[str, str] = {
    "twap_id": "twap_id",
    "wallet": "state_user",
    "asset": "state_coin",
    "side": "state_side",
    "size_requested": "state_sz",
    "size_executed": "state_executedSz",
    "notional_executed": "state_executedNtl",
    "duration_minutes": "state_minutes",
    "status": "status",
}
"""Our column → the feed's, which every object must have."""

OPTIONAL_COLUMNS: dict[str, str] = {
    "started_at": "state_timestamp",
    "reduce_only": "state_reduceOnly",
    "randomize": "state_randomize",
}
"""Our column → the feed's, absent in some of its history."""

EVENT_TIME_COLUMNS: tuple[str, ...] = ("time", "block_time")
"""Columns that say when the event happened, best first; a row without the first takes the second."""

CREATION_TIME = OPTIONAL_COLUMNS["started_at"]
"""The order's creation: stands in for the event's time only in an object that has no column of `EVENT_TIME_COLUMNS`."""

METADATA_FLAG_COLUMN = "_metadata"
"""Rows where this is true are the vendor's metadata_rows, not events."""

NESTED_STATE_COLUMN = "state"
"""A struct that holds the ``state_*`` columns without their prefix, in objects that were not flattened."""

_KNOWN_UNUSED = frozenset({"block_number", "state_trigger", "state_stopPx"})

_Types = tuple[type[pl.DataType], ...]
_INTEGERS: _Types = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_NUMBERS: _Types = (*_INTEGERS, pl.Float32, pl.Float64, pl.Decimal)
ACCEPTED_TYPES: dict[str, tuple[type[pl.DataType], ...]] = {
    "twap_id": (pl.String, *_NUMBERS),
    "state_user": (pl.String,),
    "state_coin": (pl.String,),
    "state_side": (pl.String,),
    "state_sz": (pl.String, *_NUMBERS),
    "state_executedSz": (pl.String, *_NUMBERS),
    "state_executedNtl": (pl.String, *_NUMBERS),
    "state_minutes": (pl.String, *_NUMBERS),
    "status": (pl.String, pl.Struct),
    "time": (pl.String, pl.Datetime, *_INTEGERS, pl.Float64),
    "block_time": (pl.String, pl.Datetime, *_INTEGERS, pl.Float64),
    "state_timestamp": (pl.String, pl.Datetime, *_INTEGERS, pl.Float64),
    "state_reduceOnly": (pl.Boolean,),
    "state_randomize": (pl.Boolean,),
    "_metadata": (pl.Boolean,),
}
"""Types in which each column can be read without loss; type null (all values absent) always can."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How one object's columns are read.

    Args:
        sources: Our column → the feed's column, those that the object has.
        event_times: The columns that give ``ts``, best first.
        uses_creation_time: True where only the order's creation was there to give ``ts``: later events of an order then
            claim the place of its first.
        unknown_columns: Columns that this code does not know; kept in ``raw_payload``.
    """

    sources: Mapping[str, str]
    event_times: tuple[str, ...]
    uses_creation_time: bool
    unknown_columns: tuple[str, ...]

    @property
    def time_columns(self) -> tuple[str, ...]:
        """Every column of times that is read, each once."""
        return tuple(dict.fromkeys((*self.event_times, *filter(None, [self.sources.get("started_at")]))))


def flat_schema(key: str, schema: Sequence[tuple[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """Return column → type with the struct ``state`` unfolded.

    Raises:
        ObjectInvalidError: A name appears twice.
    """
    flat: list[tuple[str, pl.DataType]] = []
    for name, dtype in schema:
        if name == NESTED_STATE_COLUMN and isinstance(dtype, pl.Struct):
            flat.extend((f"{NESTED_STATE_COLUMN}_{field.name}", _instance(field.dtype)) for field in dtype.fields)
        else:
            flat.append((name, dtype))
    doubled = sorted(name for name, count in Counter(name for name, _ in flat).items() if count > 1)
    if doubled:
        raise ObjectInvalidError(key, f"columns {doubled} appear more than once; which one to read cannot be known")
    return dict(flat)


def map_columns(key: str, schema: Mapping[str, pl.DataType]) -> ColumnMapping:
    """Decide how an object is read, from its flat schema.

    Args:
        key: The object, for errors.
        schema: Column → type, from `flat_schema`.

    Raises:
        ObjectInvalidError: A required column is missing or has a type that cannot be read without loss.
    """
    missing = [name for name in REQUIRED_COLUMNS.values() if name not in schema]
    event_times = tuple(name for name in EVENT_TIME_COLUMNS if name in schema and schema[name] != pl.Null)
    uses_creation_time = not event_times
    if uses_creation_time and CREATION_TIME in schema:
        event_times = (CREATION_TIME,)
    if not event_times:
        missing.append(f"{EVENT_TIME_COLUMNS[0]} (or {EVENT_TIME_COLUMNS[1]})")
    if missing:
        raise ObjectInvalidError(key, f"required columns {missing} are missing; found {sorted(schema)}")
    for name, types in ACCEPTED_TYPES.items():
        dtype = schema.get(name, pl.Null())
        if dtype != pl.Null and not isinstance(dtype, types):
            expected = ", ".join(kind.__name__ for kind in types)
            raise ObjectInvalidError(key, f"column {name!r} has type {dtype}; expected one of {expected}")
    sources = REQUIRED_COLUMNS | {ours: name for ours, name in OPTIONAL_COLUMNS.items() if name in schema}
    extra = sorted(set(schema) - set(ACCEPTED_TYPES) - _KNOWN_UNUSED)
    return ColumnMapping(
        sources=sources, event_times=event_times, uses_creation_time=uses_creation_time, unknown_columns=tuple(extra)
    )


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, DataTypeClass) else dtype
