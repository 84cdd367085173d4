"""Mapping of the columns of the feed of statuses to our columns, determined once per object from its schema.

The names of the feed's columns belong here. An object without a required column is refused, so that a renamed column
does not become NULL without an error.
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
"""Our column → feed column that every object must have."""

OPTIONAL_COLUMNS: dict[str, str] = {
    "started_at": "state_timestamp",
    "reduce_only": "state_reduceOnly",
    "randomize": "state_randomize",
}
"""Our column → feed column that some objects lack."""

EVENT_TIME_COLUMNS: tuple[str, ...] = ("time", "block_time")
"""Feed columns of the event's time, in order of preference: a null in the first is replaced by the second."""

CREATION_TIME = OPTIONAL_COLUMNS["started_at"]
"""Feed column of the order's creation. It replaces the event's time in objects without `EVENT_TIME_COLUMNS`."""

METADATA_FLAG_COLUMN = "_metadata"
"""Rows in which this feed column is true are metadata rows of the vendor, not events."""

NESTED_STATE_COLUMN = "state"
"""Struct of the ``state_*`` columns without their prefix, in objects that are not flattened."""

_KNOWN_UNUSED = frozenset({"block_number", "state_trigger", "state_stopPx"})

PolarsTypes = tuple[type[pl.DataType], ...]
_INTEGERS: PolarsTypes = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
NUMBERS: PolarsTypes = (*_INTEGERS, pl.Float32, pl.Float64, pl.Decimal)
TIMES: PolarsTypes = (pl.String, pl.Datetime, *_INTEGERS, pl.Float64, pl.Decimal)
ACCEPTED_TYPES: dict[str, PolarsTypes] = {
    "twap_id": (pl.String, *NUMBERS),
    "state_user": (pl.String,),
    "state_coin": (pl.String,),
    "state_side": (pl.String,),
    "state_sz": (pl.String, *NUMBERS),
    "state_executedSz": (pl.String, *NUMBERS),
    "state_executedNtl": (pl.String, *NUMBERS),
    "state_minutes": (pl.String, *NUMBERS),
    "status": (pl.String, pl.Struct, pl.Map),
    "time": TIMES,
    "block_time": TIMES,
    "state_timestamp": TIMES,
    "state_reduceOnly": (pl.Boolean,),
    "state_randomize": (pl.Boolean,),
    "_metadata": (pl.Boolean,),
}
"""Feed column → types that can be read without loss. Type null (all values null) is always accepted."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How one object's columns are read.

    Args:
        sources: Our column → feed column, for the columns that the object has.
        event_times: Feed columns of ``ts``, in order of preference.
        uses_creation_time: Whether ``ts`` is the order's creation, because the object has no event time. Later events
            of an order then have the key of its first event.
        unknown_columns: Other columns, which only the JSON column of the table contains.
    """

    sources: Mapping[str, str]
    event_times: tuple[str, ...]
    uses_creation_time: bool
    unknown_columns: tuple[str, ...]

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The feed columns of times that are read."""
        return tuple(dict.fromkeys((*self.event_times, *filter(None, [self.sources.get("started_at")]))))


def flat_schema(key: str, schema: Sequence[tuple[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """Return column → type, with the fields of the struct ``state`` as columns.

    Raises:
        ObjectInvalidError: A column name appears more than once.
    """
    flat: list[tuple[str, pl.DataType]] = []
    for name, dtype in schema:
        if name == NESTED_STATE_COLUMN and isinstance(dtype, pl.Struct):
            flat.extend((f"{NESTED_STATE_COLUMN}_{field.name}", _instance(field.dtype)) for field in dtype.fields)
        else:
            flat.append((name, dtype))
    repeated = sorted(name for name, count in Counter(name for name, _ in flat).items() if count > 1)
    if repeated:
        raise ObjectInvalidError(key, f"columns {repeated} appear more than once, so the column to read is ambiguous")
    return dict(flat)


def map_columns(key: str, schema: Mapping[str, pl.DataType]) -> ColumnMapping:
    """Return the mapping of an object's columns, whose types are those of `flat_schema`.

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
    require_types(key, schema, ACCEPTED_TYPES)
    sources = REQUIRED_COLUMNS | {ours: name for ours, name in OPTIONAL_COLUMNS.items() if name in schema}
    unknown_columns = tuple(sorted(set(schema) - set(ACCEPTED_TYPES) - _KNOWN_UNUSED))
    return ColumnMapping(sources, event_times, uses_creation_time, unknown_columns)


def require_types(key: str, schema: Mapping[str, pl.DataType], accepted: Mapping[str, PolarsTypes]) -> None:
    """Check that each column has an accepted type, or the type null.

    Raises:
        ObjectInvalidError: A column has a type that cannot be read without loss.
    """
    for name, types in accepted.items():
        dtype = schema.get(name, pl.Null())
        if dtype != pl.Null and not isinstance(dtype, types):
            expected = ", ".join(kind.__name__ for kind in types)
            raise ObjectInvalidError(key, f"column {name!r} has type {dtype}; expected one of {expected}")


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, DataTypeClass) else dtype
