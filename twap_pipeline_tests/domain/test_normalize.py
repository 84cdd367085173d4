"""Unit tests of `normalize`: every valid raw row is normalized exactly, or counted as metadata."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.domain.normalize import flatten
from twap_pipeline_tests.domain.normalized import label, only_row, read
from twap_pipeline_tests.feed_factories import CREATED_MS, EVENT, EVENT_NS, EVENT_TEXT, WALLET, nested, raw_rows
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

STARTED = datetime(2026, 9, 24, 11, 12, 32, 992_000, tzinfo=UTC)
FINISHED_TEXT = "2026-09-24T12:42:34.010015484"


# Valid rows


def test_valid_row_is_normalized() -> None:
    raw = raw_rows()

    row = only_row(raw)

    assert json.loads(row.pop("raw_payload")) == raw.row(0, named=True)
    assert row == {
        "row_number": 0,
        "twap_id": "2250263",
        "wallet": WALLET,
        "ts": EVENT,
        "asset": "HYPE",
        "side": "B",
        "size_requested": "108.36",
        "size_executed": "0.0",
        "notional_executed": "0.0",
        "status": "activated",
        "duration_minutes": 90,
        "started_at": STARTED,
        "status_error": None,
        "reduce_only": False,
        "randomize": True,
    }


@pytest.mark.parametrize("n", [0, 3])
def test_frames_have_fixed_columns_and_types(n: int) -> None:
    normalized = read(raw_rows(n, state_sz="x" if n else "1"))
    times = dict.fromkeys(("ts", "started_at"), pl.Datetime("us", "UTC"))
    flags = dict.fromkeys(("reduce_only", "randomize"), pl.Boolean())
    other: dict[str, pl.DataType] = {"row_number": pl.Int64(), "duration_minutes": pl.Int64(), **times, **flags}

    assert normalized.rows.columns == ["row_number", *TWAP_STATUS.row_columns]
    assert dict(normalized.rows.schema) == {name: other.get(name, pl.String()) for name in normalized.rows.columns}
    assert dict(normalized.rejected.schema) == {"row_number": pl.Int64(), "reason": pl.String(), "raw_row": pl.String()}


def test_ts_is_event_time_not_order_creation() -> None:
    raw = raw_rows(
        2,
        twap_id=2_250_263,
        time=[EVENT_TEXT, FINISHED_TEXT],
        status=["activated", "finished"],
        state_executedSz=["0.0", "108.36"],
        state_timestamp=CREATED_MS,
    )

    rows = read(raw).rows

    assert rows["ts"].to_list() == [EVENT, datetime(2026, 9, 24, 12, 42, 34, 10_015, tzinfo=UTC)]
    assert rows["size_executed"].to_list() == ["0.0", "108.36"]
    assert rows["started_at"].to_list() == [STARTED, STARTED]


def test_row_numbers_are_positions_in_the_object() -> None:
    normalized = read(raw_rows(4, twap_id=[1, None, 3, 4], _metadata=[False, False, True, None]), first_row=1_000)

    assert normalized.rows["row_number"].to_list() == [1_000, 1_003]
    assert normalized.rejected["row_number"].to_list() == [1_001]
    assert normalized.metadata_rows == 1


@pytest.mark.parametrize("name", ["state_timestamp", "state_reduceOnly", "state_randomize"])
def test_missing_optional_column_is_null(name: str) -> None:
    column = {"state_timestamp": "started_at", "state_reduceOnly": "reduce_only", "state_randomize": "randomize"}[name]

    assert only_row(raw_rows().drop(name))[column] is None
    assert only_row(raw_rows(**{name: None}))[column] is None


@pytest.mark.parametrize("column", ["state_sz", "state_executedSz", "state_executedNtl", "state_minutes"])
@pytest.mark.parametrize("dtype", [pl.Null(), pl.String(), pl.Float64()])
def test_null_in_nullable_column_is_accepted(column: str, dtype: pl.DataType) -> None:
    normalized = read(raw_rows(2, **{column: pl.Series([None, None], dtype=dtype)}))

    assert (normalized.rows.height, normalized.rejected.height) == (2, 0)


@pytest.mark.parametrize(
    "unknown",
    [
        pl.Series([0]),
        pl.Series([None], dtype=pl.Int64),
        pl.Series(["0"]),
        pl.Series([" 0 "]),
        pl.Series([0.0]),
        pl.Series([0]).cast(pl.Datetime("ms")),
        pl.Series([None], dtype=pl.Null),
    ],
    ids=label,
)
def test_creation_time_zero_or_null_is_unknown(unknown: pl.Series) -> None:
    assert only_row(raw_rows(state_timestamp=unknown))["started_at"] is None


# F4, F5: structure and types


@pytest.mark.fault("F4")
def test_nested_state_equals_flat_columns() -> None:
    raw = raw_rows(3, state_sz=["1", "x", "3"])

    flat, from_struct = read(raw), read(nested(raw))

    assert from_struct.rows.drop("raw_payload").equals(flat.rows.drop("raw_payload"))
    assert from_struct.rejected.drop("raw_row").equals(flat.rejected.drop("raw_row"))
    assert json.loads(from_struct.rows["raw_payload"][0])["state"]["sz"] == "1"


INTERNAL_NAMES = [
    "row_number",
    "raw_payload",
    "raw_row",
    "reason",
    "raw:twap_id",
    "raw:time",
    "text",
    "epoch",
    *TWAP_STATUS.row_columns[1:5],
]


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("name", "value", "in_payload"),
    [
        *((name, "text", "text") for name in (*INTERNAL_NAMES, "", "*", "^.*$", "^twap.*$", 'a"b\\\n', "a.b", "😀")),
        ("status_error", 1.5, 1.5),
        ("reason", math.nan, "NaN"),
    ],
)
def test_unknown_column_of_any_name_is_only_in_payload(name: str, value: object, in_payload: object) -> None:
    raw = raw_rows(2, twap_id=[1, None], **{name: value})
    usual = read(raw_rows(2, twap_id=[1, None]))

    normalized = read(raw)

    assert normalized.rows.drop("raw_payload").equals(usual.rows.drop("raw_payload"))
    assert normalized.rejected.drop("raw_row").equals(usual.rejected.drop("raw_row"))
    expected = {**raw_rows(2, twap_id=[1, None]).row(0, named=True), name: in_payload}
    assert json.loads(normalized.rows["raw_payload"][0]) == expected
    assert normalized.data_warnings == {f"unknown column {name!r}, only in raw_payload": 1}


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (pl.Series(["108.360"]), "108.360"),
        (pl.Series([Decimal("108.360")], dtype=pl.Decimal(38, 3)), "108.360"),
        (pl.Series([108]), "108"),
        (pl.Series([0.1]), "0.1"),
        (pl.Series([1e16]), "1e+16"),
        (pl.Series([1e-7]), "1e-7"),
    ],
    ids=label,
)
def test_size_of_any_type_is_exact_text(sizes: pl.Series, expected: str) -> None:
    assert only_row(raw_rows(state_sz=sizes))["size_requested"] == expected


@pytest.mark.fault("V3")
@pytest.mark.parametrize("size", ["-5", "1E-30", "9" * 60, "0." + "3" * 60, "1e999"])
def test_unusual_decimal_size_is_verbatim(size: str) -> None:
    assert only_row(raw_rows(state_executedSz=size))["size_executed"] == size


@pytest.mark.fault("V3")
def test_executed_above_requested_is_verbatim() -> None:
    row = only_row(raw_rows(state_sz="1", state_executedSz="2"))

    assert (row["size_requested"], row["size_executed"]) == ("1", "2")


@pytest.mark.fault("V5")
def test_two_events_of_one_microsecond_are_both_rows() -> None:
    raw = raw_rows(2, twap_id=1, time=["2026-09-24T11:12:32.992506001", "2026-09-24T11:12:32.992506999"])

    rows = read(raw).rows

    assert rows["ts"].to_list() == [EVENT, EVENT]
    assert rows["row_number"].to_list() == [0, 1]


@pytest.mark.fault("V5")
@pytest.mark.parametrize(
    "time", [pl.Series([EVENT_TEXT]), pl.Series([EVENT_NS]), pl.Series([EVENT_NS]).cast(pl.Datetime("ns"))], ids=label
)
def test_nanoseconds_are_in_the_payload(time: pl.Series) -> None:
    row = only_row(raw_rows(time=time))

    assert row["ts"] == EVENT
    assert "992506967" in row["raw_payload"]


@pytest.mark.fault("V7")
def test_large_id_and_mixed_case_wallet_are_canonical() -> None:
    row = only_row(raw_rows(twap_id=str(2**64 + 1), state_user=WALLET.upper()))

    assert (row["twap_id"], row["wallet"]) == (str(2**64 + 1), WALLET)
    assert json.loads(row["raw_payload"])["state_user"] == WALLET.upper()


@pytest.mark.fault("V7")
@pytest.mark.parametrize("coin", ["BTC", "kBONK", "xyz:NVDA", "@107", "PURR/USDC", " a\tb\\", "😀", ""])
def test_coin_is_verbatim(coin: str) -> None:
    assert only_row(raw_rows(state_coin=coin))["asset"] == coin


@pytest.mark.fault("V8")
def test_equal_raw_rows_are_equal_normalized_rows() -> None:
    first, second = read(raw_rows(2, twap_id=1, time=EVENT_TEXT, block_time=EVENT_TEXT)).rows.iter_rows()

    assert first[1:] == second[1:]
    assert (first[0], second[0]) == (0, 1)


def test_flatten_flat_frame_is_unchanged() -> None:
    raw = raw_rows(2)

    assert flatten(raw) is raw
    assert flatten(nested(raw)).select(raw.columns).equals(raw)


# Row counts and data warnings

_VALUES: Mapping[str, list[object]] = {
    "twap_id": ["1", "007", None, "x", "-1", "\u0663"],
    "state_user": [WALLET, WALLET.upper(), None, "0x", "\0"],
    "time": [EVENT_TEXT, None, "infinity", "1970-01-01T00:00:00", str(EVENT_NS), "5"],
    "block_time": [EVENT_TEXT, None, "x"],
    "state_sz": ["1.5", None, "NaN", "1E-30"],
    "state_minutes": [30.0, None, 0.5, math.nan, math.inf],
    "state_timestamp": ["0", None, str(CREATED_MS), "x", "5"],
    "state_coin": ["BTC", None, "\0", "a" * 257],
    "state_reduceOnly": [True, False, None],
    "status": ["activated", None, "error: x", '{"error": "y"}', "paused", "a\0", "{}"],
    "_metadata": [True, False, None],
}


@given(st.lists(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in _VALUES.items()}), max_size=6))
@examples(75)
def test_every_row_has_exactly_one_outcome(rows: list[dict[str, object]]) -> None:
    columns = {name: pl.Series([row[name] for row in rows], dtype=_dtype(name)) for name in _VALUES}
    raw = raw_rows(len(rows), **columns)

    normalized = read(raw, first_row=10)

    row_numbers = [*normalized.rows["row_number"], *normalized.rejected["row_number"]]
    assert len(set(row_numbers)) == len(row_numbers)
    assert len(row_numbers) + normalized.metadata_rows == len(rows)
    assert normalized.metadata_rows == sum(row["_metadata"] is True for row in rows)
    assert set(row_numbers) == {10 + index for index, row in enumerate(rows) if row["_metadata"] is not True}
    assert normalized.rejected["reason"].null_count() == 0
    assert normalized.rows.select("twap_id", "wallet", "ts", "raw_payload").null_count().sum_horizontal().item() == 0


def _dtype(name: str) -> pl.DataType:
    return {
        "state_minutes": pl.Float64(),
        "state_reduceOnly": pl.Boolean(),
        "_metadata": pl.Boolean(),
    }.get(name, pl.String())


def test_metadata_row_is_counted_and_not_validated() -> None:
    normalized = read(raw_rows(2, twap_id=[None, 1], _metadata=[True, None]))

    assert (normalized.rows.height, normalized.rejected.height, normalized.metadata_rows) == (1, 0, 1)


def test_empty_frame_has_no_rows_and_no_warnings() -> None:
    normalized = read(raw_rows(0))

    assert (normalized.rows.height, normalized.rejected.height, normalized.metadata_rows) == (0, 0, 0)
    assert sum(normalized.data_warnings.values()) == 0


def test_unknown_status_is_verbatim_with_a_warning() -> None:
    normalized = read(raw_rows(4, status=["paused", "paused", None, "finished"]))

    assert normalized.rows["status"].to_list() == ["paused", "paused", None, "finished"]
    assert normalized.data_warnings == {
        "unknown status 'paused', stored verbatim": 2,
        "unknown status None, stored verbatim": 1,
    }


@pytest.mark.parametrize("status", ["waitingForTrigger", "activated", "finished", "terminated", "error: x", "stopped"])
def test_known_status_has_no_warning(status: str) -> None:
    assert not read(raw_rows(status=status)).data_warnings


def test_error_is_split_into_status_and_message() -> None:
    row = only_row(raw_rows(status='{"error": "Insufficient margin to place order."}', state_executedSz="3"))

    assert (row["status"], row["status_error"]) == ("error", "Insufficient margin to place order.")
    assert row["size_executed"] == "3"


def test_no_event_time_uses_creation_with_a_warning() -> None:
    normalized = read(raw_rows(2).drop("time", "block_time"))

    assert normalized.rows["ts"].to_list() == [STARTED, STARTED]
    assert [count for text, count in normalized.data_warnings.items() if "creation" in text] == [2]
