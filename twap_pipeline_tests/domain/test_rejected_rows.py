"""Unit tests of `normalize`: rows that are rejected, with every reason, and their raw row."""

import json
import math
from datetime import timedelta

import polars as pl
import pytest

from twap_pipeline_tests.domain.normalized import read, reasons
from twap_pipeline_tests.feed_factories import CREATED_MS, EVENT, EVENT_TEXT, LAST_MODIFIED, nested, raw_rows

pytestmark = pytest.mark.unit


@pytest.mark.fault("F4")
def test_null_state_is_rejected() -> None:
    raw = nested(raw_rows(2))
    raw = raw.with_columns(state=pl.when(pl.int_range(pl.len()) > 0).then("state"))

    normalized = read(raw)

    assert normalized.rows["row_number"].to_list() == [1]
    assert normalized.rejected["reason"].to_list() == ["state_user is not 0x and 40 hex digits: NULL"]


@pytest.mark.fault("V1")
@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("twap_id", "twap_id is not a whole number: NULL"),
        ("state_user", "state_user is not 0x and 40 hex digits: NULL"),
    ],
)
def test_null_key_is_rejected_with_row_number_and_reason(column: str, reason: str) -> None:
    values = raw_rows(2)[column]
    raw = raw_rows(3, **{column: pl.Series([values[0], None, values[1]])})

    normalized = read(raw)

    assert normalized.rows["row_number"].to_list() == [0, 2]
    assert normalized.rejected.select("row_number", "reason").rows() == [(1, reason)]
    assert json.loads(normalized.rejected["raw_row"][0]) == raw.row(1, named=True)


@pytest.mark.fault("V1")
def test_null_time_uses_block_time_and_two_nulls_are_rejected() -> None:
    raw = raw_rows(2, time=pl.Series([None, None], dtype=pl.String), block_time=[EVENT_TEXT, None])

    normalized = read(raw)

    assert normalized.rows.select("row_number", "ts").rows() == [(0, EVENT)]
    assert normalized.rejected.select("row_number", "reason").rows() == [
        (1, "time is not a time within the valid range of this object: NULL")
    ]


@pytest.mark.fault("V1")
def test_reason_contains_every_invalid_column() -> None:
    (reason,) = reasons(
        raw_rows(twap_id="x", state_user="y", time="z", block_time=None, state_sz="NaN", state_minutes=0.5)
    )

    assert reason == (
        "twap_id is not a whole number: x; state_user is not 0x and 40 hex digits: y;"
        " time is not a time within the valid range of this object: z; state_sz is not a finite decimal number: NaN;"
        " state_minutes is not a whole number of minutes: 0.5"
    )


@pytest.mark.fault("V1")
def test_rows_of_nulls_are_rejected() -> None:
    raw = pl.DataFrame({name: pl.Series([None, None], dtype=pl.Null) for name in raw_rows().columns})

    normalized = read(raw)

    assert (normalized.rows.height, normalized.rejected.height, normalized.metadata_rows) == (0, 2, 0)


@pytest.mark.fault("V2")
@pytest.mark.parametrize("column", ["state_sz", "state_executedSz", "state_executedNtl"])
@pytest.mark.parametrize(("value", "text"), [(math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_size_not_finite_is_rejected_with_its_value(column: str, value: float, text: str) -> None:
    normalized = read(raw_rows(2, **{column: [1.5, value]}))

    assert normalized.rows["row_number"].to_list() == [0]
    assert normalized.rejected["reason"].to_list() == [f"{column} is not a finite decimal number: {text}"]
    assert json.loads(normalized.rejected["raw_row"][0])[column] == text


@pytest.mark.fault("V2")
def test_nested_size_not_finite_is_in_raw_row() -> None:
    normalized = read(nested(raw_rows(2, state_sz=[1.5, math.nan])))

    assert json.loads(normalized.rejected["raw_row"][0])["state"]["sz"] == "NaN"


@pytest.mark.fault("V2")
@pytest.mark.parametrize("size", ["NaN", "Infinity", "-inf", "", "1_000", "0x10", "1,5", "\u0663"])
def test_size_text_not_decimal_is_rejected(size: str) -> None:
    assert reasons(raw_rows(state_executedSz=size)) == [f"state_executedSz is not a finite decimal number: {size}"]


@pytest.mark.fault("V3")
@pytest.mark.parametrize(
    ("minutes", "reason"),
    [(-1, "-1"), (2**31, "2147483648"), (30.5, "30.5"), ("ninety", "ninety"), ("\u0663", "\u0663"), (math.nan, "NaN")],
)
def test_minutes_not_whole_are_rejected(minutes: object, reason: str) -> None:
    assert reasons(raw_rows(state_minutes=minutes)) == [f"state_minutes is not a whole number of minutes: {reason}"]


@pytest.mark.fault("V6")
@pytest.mark.parametrize(
    "time",
    [
        "1970-01-01T00:00:00",
        "0000-01-01T00:00:00",
        "2022-12-31T23:59:59.999999",
        "2262-04-12T00:00:00",
        "9999-12-31T23:59:59.999999",
        f"{LAST_MODIFIED + timedelta(days=1, microseconds=1):%Y-%m-%dT%H:%M:%S.%f}",
    ],
)
def test_time_out_of_range_is_rejected_despite_block_time(time: str) -> None:
    assert reasons(raw_rows(time=time)) == [f"time is not a time within the valid range of this object: {time}"]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("time", ["infinity", "-infinity", "yesterday", ""])
def test_unreadable_time_is_not_replaced_by_block_time(time: str) -> None:
    assert reasons(raw_rows(time=time)) == [f"time is not a time within the valid range of this object: {time}"]


@pytest.mark.fault("V6")
@pytest.mark.parametrize("started", [5, -1, CREATED_MS * 1_000, 2**62])
def test_creation_time_out_of_range_is_rejected(started: int) -> None:
    assert reasons(raw_rows(state_timestamp=started)) == [
        f"state_timestamp is not a time within the valid range of this object: {started}"
    ]


@pytest.mark.fault("V7")
@pytest.mark.parametrize("column", ["state_coin", "state_side", "status"])
def test_nul_character_is_rejected_and_not_in_the_reason(column: str) -> None:
    raw = raw_rows(2, **{column: ["a\0b", "valid"]})

    normalized = read(raw)

    assert normalized.rows["row_number"].to_list() == [1]
    assert f"{column} contains a NUL character" in normalized.rejected["reason"][0]
    assert "\0" not in normalized.rejected["reason"][0] + normalized.rejected["raw_row"][0]
    assert json.loads(normalized.rejected["raw_row"][0])[column] == r"a\u0000b"


@pytest.mark.fault("V7")
@pytest.mark.parametrize("column", ["twap_id", "state_user", "time", "state_sz", "state_minutes", "state_timestamp"])
def test_nul_character_in_number_is_escaped_in_the_reason(column: str) -> None:
    (reason,) = reasons(raw_rows(**{column: "1\x002"}, **({} if column != "time" else {"block_time": None})))

    assert reason.endswith("1\\02")


@pytest.mark.fault("V7")
@pytest.mark.parametrize("status", ['{"error": "a\\u0000b"}', "error: a\0b", '"a\\u0000b"'])
def test_nul_character_in_error_message_is_rejected(status: str) -> None:
    (reason,) = reasons(raw_rows(status=status))

    assert reason.startswith("status contains a NUL character")
    assert "\0" not in reason


@pytest.mark.fault("V7")
@pytest.mark.parametrize(("column", "limit"), [("state_coin", 256), ("state_side", 256), ("status", 65_536)])
def test_text_above_maximum_is_rejected_with_short_reason(column: str, limit: int) -> None:
    raw = raw_rows(3, **{column: ["a" * limit, "a" * (limit + 1), "ü" * (limit // 2 + 1)]})

    normalized = read(raw)

    assert normalized.rows["row_number"].to_list() == [0]
    assert normalized.rejected["row_number"].to_list() == [1, 2]
    assert all(len(reason) < 200 for reason in normalized.rejected["reason"])
    assert json.loads(normalized.rejected["raw_row"][0])[column] == "a" * (limit + 1)


def test_no_event_time_and_creation_zero_is_rejected() -> None:
    assert reasons(raw_rows(state_timestamp=0).drop("time", "block_time")) == [
        "state_timestamp is not a time within the valid range of this object: 0"
    ]
