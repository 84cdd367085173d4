"""Unit tests of the column mapping: exact names and accepted types, or the object is refused with its columns."""

from collections.abc import Mapping

import polars as pl
import pytest

from twap_pipeline.domain.source_schema import (
    ACCEPTED_TYPES,
    EVENT_TIME_COLUMNS,
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    ColumnMapping,
    flat_schema,
    map_columns,
)
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline_tests.feed_factories import KEY, nested, raw_rows

pytestmark = pytest.mark.unit

Schema = dict[str, pl.DataType]
FEED: Mapping[str, pl.DataType] = dict(raw_rows().schema)


def without(*names: str) -> Schema:
    return {name: dtype for name, dtype in FEED.items() if name not in names}


def mapped(**types: pl.DataType) -> ColumnMapping:
    return map_columns(KEY, {**FEED, **types})


def refusal(schema: Schema) -> str:
    with pytest.raises(ObjectInvalidError) as raised:
        map_columns(KEY, schema)
    assert raised.value.key == KEY
    return raised.value.reason


def test_usual_columns_are_all_known() -> None:
    mapping = map_columns(KEY, FEED)

    assert mapping.unknown_columns == ()
    assert not mapping.uses_creation_time
    assert mapping.event_times == ("time", "block_time")
    assert mapping.time_columns == ("time", "block_time", "state_timestamp")
    assert mapping.sources["size_executed"] == "state_executedSz"


def test_every_mapped_column_has_accepted_types() -> None:
    assert {*REQUIRED_COLUMNS.values(), *OPTIONAL_COLUMNS.values(), *EVENT_TIME_COLUMNS} <= ACCEPTED_TYPES.keys()


@pytest.mark.fault("F3")
@pytest.mark.parametrize("name", REQUIRED_COLUMNS.values())
def test_missing_required_column_is_refused_with_columns(name: str) -> None:
    reason = refusal(without(name))

    assert f"required columns ['{name}'] are missing" in reason
    assert f"found {sorted(without(name))}" in reason


@pytest.mark.fault("F3")
@pytest.mark.parametrize("renamed", ["State_User", "state_USER", "state_user ", "stateUser", "user"])
def test_renamed_column_is_refused(renamed: str) -> None:
    reason = refusal({**without("state_user"), renamed: pl.String()})

    assert "['state_user'] are missing" in reason
    assert repr(renamed) in reason


@pytest.mark.fault("F3")
def test_refusal_contains_every_missing_column() -> None:
    reason = refusal({"x": pl.String()})

    assert all(repr(name) in reason for name in [*REQUIRED_COLUMNS.values(), "time (or block_time)"])


@pytest.mark.fault("F3")
@pytest.mark.parametrize(
    "name", ["state_timestamp", "state_reduceOnly", "state_randomize", "block_time", "block_number"]
)
def test_missing_optional_column_is_accepted(name: str) -> None:
    mapping = map_columns(KEY, without(name))

    assert name not in mapping.sources.values()
    assert not mapping.uses_creation_time


@pytest.mark.parametrize("absent", [{}, {"time": pl.Null()}])
def test_without_time_block_time_is_used(absent: Schema) -> None:
    mapping = map_columns(KEY, without("time") | absent)

    assert (mapping.event_times, mapping.uses_creation_time) == (("block_time",), False)


def test_without_event_times_creation_time_is_used() -> None:
    mapping = map_columns(KEY, without(*EVENT_TIME_COLUMNS))

    assert (mapping.event_times, mapping.uses_creation_time) == (("state_timestamp",), True)
    assert mapping.time_columns == ("state_timestamp",)


@pytest.mark.fault("F3")
def test_without_any_time_is_refused() -> None:
    assert "['time (or block_time)'] are missing" in refusal(without(*EVENT_TIME_COLUMNS, "state_timestamp"))


@pytest.mark.fault("F4")
def test_unknown_columns_are_sorted() -> None:
    mapping = mapped(zeta=pl.Int64(), alpha=pl.List(pl.String()), state_trigger=pl.Null(), state_stopPx=pl.String())

    assert mapping.unknown_columns == ("alpha", "zeta")


@pytest.mark.fault("F4")
@pytest.mark.parametrize("name", ["row_number", "raw_payload", "raw:twap_id", "wallet", "ts", "_metadata2", ""])
def test_internal_names_are_unknown_columns(name: str) -> None:
    assert mapped(**{name: pl.String()}).unknown_columns == (name,)


@pytest.mark.fault("F4")
def test_nested_state_equals_flat_columns() -> None:
    schema = flat_schema(KEY, list(nested(raw_rows()).schema.items()))

    assert schema == FEED
    assert map_columns(KEY, schema) == map_columns(KEY, FEED)


@pytest.mark.fault("F4")
def test_state_that_is_not_a_struct_is_unknown() -> None:
    schema = flat_schema(KEY, [*FEED.items(), ("state", pl.String())])

    assert map_columns(KEY, schema).unknown_columns == ("state",)


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("more", "repeated"),
    [
        ([("status", pl.String())], ["status"]),
        ([("x", pl.String()), ("x", pl.Int64())], ["x"]),
        ([("state", pl.Struct({"sz": pl.String(), "user": pl.String()}))], ["state_sz", "state_user"]),
    ],
)
def test_repeated_column_is_refused(more: list[tuple[str, pl.DataType]], repeated: list[str]) -> None:
    with pytest.raises(ObjectInvalidError) as raised:
        flat_schema(KEY, [*FEED.items(), *more])

    assert raised.value.key == KEY
    assert f"columns {repeated} appear more than once" in raised.value.reason


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    "name", [*REQUIRED_COLUMNS.values(), "time", "state_timestamp", "state_reduceOnly", "_metadata"]
)
def test_type_null_is_accepted(name: str) -> None:
    map_columns(KEY, {**FEED, name: pl.Null()})


@pytest.mark.fault("F5")
@pytest.mark.parametrize("name", ["twap_id", "state_sz", "state_executedSz", "state_executedNtl", "state_minutes"])
@pytest.mark.parametrize(
    "dtype", [pl.String(), pl.Int8(), pl.Int64(), pl.UInt64(), pl.Float32(), pl.Float64(), pl.Decimal(38, 8)], ids=str
)
def test_number_of_any_exact_type_is_accepted(name: str, dtype: pl.DataType) -> None:
    map_columns(KEY, {**FEED, name: dtype})


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("twap_id", pl.Boolean()),
        ("twap_id", pl.Datetime("ms")),
        ("state_sz", pl.List(pl.String())),
        ("state_sz", pl.Struct({"a": pl.Int64()})),
        ("state_user", pl.Int64()),
        ("state_user", pl.Binary()),
        ("state_coin", pl.Int64()),
        ("state_minutes", pl.Duration("ms")),
        ("status", pl.Int64()),
        ("status", pl.List(pl.String())),
        ("time", pl.Date()),
        ("time", pl.Boolean()),
        ("time", pl.Float32()),
        ("block_time", pl.Time()),
        ("state_timestamp", pl.Duration("ms")),
        ("state_reduceOnly", pl.String()),
        ("state_randomize", pl.Int64()),
        ("_metadata", pl.String()),
    ],
    ids=str,
)
def test_type_with_loss_is_refused(name: str, dtype: pl.DataType) -> None:
    reason = refusal({**FEED, name: dtype})

    assert reason.startswith(f"column {name!r} has type {dtype}; expected one of ")
