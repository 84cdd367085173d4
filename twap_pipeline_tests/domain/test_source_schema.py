"""An object's columns are mapped by exact name and readable type, or the object is refused with what was found."""

from collections.abc import Mapping

import polars as pl
import pytest

from twap_pipeline.domain.source_schema import (
    EVENT_TIME_COLUMNS,
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


def test_the_feeds_own_columns_are_all_known() -> None:
    mapping = map_columns(KEY, FEED)

    assert mapping.unknown_columns == ()
    assert not mapping.uses_creation_time
    assert mapping.event_times == ("time", "block_time")
    assert mapping.time_columns == ("time", "block_time", "state_timestamp")
    assert mapping.sources["size_executed"] == "state_executedSz"


@pytest.mark.fault("F3")
@pytest.mark.parametrize("name", REQUIRED_COLUMNS.values())
def test_a_missing_column_is_refused_and_named_with_what_was_found(name: str) -> None:
    reason = refusal(without(name))

    assert f"required columns ['{name}'] are missing" in reason
    assert f"found {sorted(without(name))}" in reason


@pytest.mark.fault("F3")
@pytest.mark.parametrize("renamed", ["State_User", "state_USER", "state_user ", "stateUser", "user"])
def test_a_renamed_column_is_missing_and_never_a_null(renamed: str) -> None:
    reason = refusal({**without("state_user"), renamed: pl.String()})

    assert "['state_user'] are missing" in reason
    assert repr(renamed) in reason


@pytest.mark.fault("F3")
def test_every_missing_column_is_named_at_once() -> None:
    reason = refusal({"x": pl.String()})

    assert all(repr(name) in reason for name in [*REQUIRED_COLUMNS.values(), "time (or block_time)"])


@pytest.mark.fault("F3")
@pytest.mark.parametrize(
    "name", ["state_timestamp", "state_reduceOnly", "state_randomize", "block_time", "block_number"]
)
def test_a_column_absent_from_some_of_the_history_is_not_missed(name: str) -> None:
    mapping = map_columns(KEY, without(name))

    assert name not in mapping.sources.values()
    assert not mapping.uses_creation_time


@pytest.mark.parametrize("absent", [{}, {"time": pl.Null()}])
def test_without_a_time_the_blocks_time_is_the_events(absent: Schema) -> None:
    mapping = map_columns(KEY, without("time") | absent)

    assert (mapping.event_times, mapping.uses_creation_time) == (("block_time",), False)


def test_without_any_event_time_the_orders_creation_stands_in_and_the_object_is_degraded() -> None:
    mapping = map_columns(KEY, without(*EVENT_TIME_COLUMNS))

    assert (mapping.event_times, mapping.uses_creation_time) == (("state_timestamp",), True)
    assert mapping.time_columns == ("state_timestamp",)


@pytest.mark.fault("F3")
def test_without_any_time_at_all_the_object_is_refused() -> None:
    assert "['time (or block_time)'] are missing" in refusal(without(*EVENT_TIME_COLUMNS, "state_timestamp"))


@pytest.mark.fault("F4")
def test_unknown_columns_are_listed_each_once_in_order() -> None:
    mapping = mapped(zeta=pl.Int64(), alpha=pl.List(pl.String()), state_trigger=pl.Null(), state_stopPx=pl.String())

    assert mapping.unknown_columns == ("alpha", "zeta")


@pytest.mark.fault("F4")
@pytest.mark.parametrize("name", ["row_number", "raw_payload", "raw:twap_id", "wallet", "ts", "_metadata2", ""])
def test_a_name_that_this_code_uses_itself_is_just_an_unknown_column(name: str) -> None:
    assert mapped(**{name: pl.String()}).unknown_columns == (name,)


@pytest.mark.fault("F4")
def test_a_nested_state_is_the_same_columns() -> None:
    schema = flat_schema(KEY, list(nested(raw_rows()).schema.items()))

    assert schema == FEED
    assert map_columns(KEY, schema) == map_columns(KEY, FEED)


@pytest.mark.fault("F4")
def test_a_state_that_is_no_struct_is_an_unknown_column() -> None:
    schema = flat_schema(KEY, [*FEED.items(), ("state", pl.String())])

    assert map_columns(KEY, schema).unknown_columns == ("state",)


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("more", "doubled"),
    [
        ([("status", pl.String())], ["status"]),
        ([("x", pl.String()), ("x", pl.Int64())], ["x"]),
        ([("state", pl.Struct({"sz": pl.String(), "user": pl.String()}))], ["state_sz", "state_user"]),
    ],
)
def test_a_column_that_appears_twice_refuses_the_object(
    more: list[tuple[str, pl.DataType]], doubled: list[str]
) -> None:
    with pytest.raises(ObjectInvalidError) as raised:
        flat_schema(KEY, [*FEED.items(), *more])

    assert raised.value.key == KEY
    assert f"columns {doubled} appear more than once" in raised.value.reason


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    "name", [*REQUIRED_COLUMNS.values(), "time", "state_timestamp", "state_reduceOnly", "_metadata"]
)
def test_a_column_of_type_null_is_readable(name: str) -> None:
    map_columns(KEY, {**FEED, name: pl.Null()})


@pytest.mark.fault("F5")
@pytest.mark.parametrize("name", ["twap_id", "state_sz", "state_executedSz", "state_executedNtl", "state_minutes"])
@pytest.mark.parametrize(
    "dtype", [pl.String(), pl.Int8(), pl.Int64(), pl.UInt64(), pl.Float32(), pl.Float64(), pl.Decimal(38, 8)], ids=str
)
def test_a_number_may_have_any_exact_type(name: str, dtype: pl.DataType) -> None:
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
def test_a_type_that_cannot_be_read_without_loss_is_refused(name: str, dtype: pl.DataType) -> None:
    reason = refusal({**FEED, name: dtype})

    assert reason.startswith(f"column {name!r} has type {dtype}; expected one of ")
