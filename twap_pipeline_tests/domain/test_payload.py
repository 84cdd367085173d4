"""Unit tests of `to_json_rows`: the payload contains the whole raw row, exactly."""

import json
import math
import re
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twap_pipeline.domain.payload import to_json_rows
from twap_pipeline_tests.domain.normalized import label
from twap_pipeline_tests.feed_factories import EVENT_NS, raw_rows
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit


@pytest.mark.fault("F5")
def test_payload_of_categorical_column_is_text() -> None:
    coins = pl.Series(["HYPE", "@107"], dtype=pl.Categorical)

    assert to_json_rows(raw_rows(2, state_coin=coins)).str.json_path_match("$.state_coin").to_list() == ["HYPE", "@107"]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])) | st.none(),
            st.integers(-(2**63), 2**63 - 1) | st.none(),
            st.floats(allow_nan=False, allow_infinity=False) | st.none(),
            st.booleans() | st.none(),
        ),
        max_size=4,
    )
)
@examples(75)
def test_payload_round_trips(rows: list[tuple[object, ...]]) -> None:
    schema = {"text": pl.String(), "number": pl.Int64(), "double": pl.Float64(), "flag": pl.Boolean()}
    raw = pl.DataFrame(rows, schema=schema, orient="row")

    texts = to_json_rows(raw)

    read = [json.loads(text) for text in texts]
    assert [{**row, "text": row["text"] and unescape(row["text"])} for row in read] == raw.to_dicts()
    assert all(character >= " " for text in texts for character in text)


def unescape(text: str) -> str:
    r"""Reverse the escape of NUL in payloads: pairs of backslashes before ``u0000`` are one, the odd one is NUL."""
    return re.sub(
        r"(\\+)u0000", lambda m: m[1][: len(m[1]) // 2] + ("\0" if len(m[1]) % 2 else "u0000"), text, flags=re.ASCII
    )


@pytest.mark.fault("V7")
@given(st.text(st.sampled_from('\0\\u0a"')), st.lists(st.text(st.sampled_from("\0\\u0"))))
@examples(100)
@example("\0", [r"\u0000", "\\\0", r"\\u0000", "\0u0000", "u0000"])
def test_payload_nul_is_escaped_reversibly(note: str, tags: list[str]) -> None:
    """PostgreSQL's json accepts the escape sequence of NUL, and then every query that reads a field of it fails."""
    (text,) = to_json_rows(raw_rows(x=note, y=pl.Series([tags], dtype=pl.List(pl.String))))

    row = json.loads(text)

    assert "\0" not in row["x"] + "".join(row["y"])
    assert unescape(row["x"]) == note
    assert [unescape(tag) for tag in row["y"]] == tags


@pytest.mark.fault("V7")
def test_payload_nul_in_a_column_name_is_escaped() -> None:
    (text,) = to_json_rows(pl.DataFrame({"a\0b": [{"c\0": 1}]}))

    assert json.loads(text) == {r"a\u0000b": {r"c\u0000": 1}}


def test_payload_nan_and_infinity_are_text() -> None:
    texts = to_json_rows(pl.DataFrame({"x": [math.nan, math.inf, -math.inf, 1.5, None]}))

    assert [json.loads(text)["x"] for text in texts] == ["NaN", "inf", "-inf", "1.5", None]


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (
            pl.Series([Decimal("12345678901234567890.12345678")], dtype=pl.Decimal(38, 8)),
            "12345678901234567890.12345678",
        ),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), 2**64 - 1),
        (pl.Series([[1, 2]]), [1, 2]),
        (pl.Series([{"a": {"b": "c"}}]), {"a": {"b": "c"}}),
        (pl.Series([EVENT_NS]).cast(pl.Datetime("ns")), "2026-09-24 11:12:32.992506967"),
        (pl.Series([None], dtype=pl.Null), None),
        (pl.Series([[math.nan]]), ["NaN"]),
        (pl.Series([[math.nan, 1.5]], dtype=pl.Array(pl.Float64, 2)), ["NaN", "1.5"]),
        (pl.Series([{"a": -math.inf}], dtype=pl.Map(pl.String, pl.Float64)), {"a": "-inf"}),
        (pl.Series([[{"a": [math.nan]}]], dtype=pl.List(pl.Map(pl.String, pl.List(pl.Float32)))), [{"a": ["NaN"]}]),
        (pl.Series([{"a": math.inf}]), {"a": "inf"}),
    ],
    ids=label,
)
def test_payload_contains_unknown_column_of_any_type(column: pl.Series, expected: object) -> None:
    assert json.loads(to_json_rows(raw_rows(x=column))[0])["x"] == expected


def test_payload_of_no_rows_is_empty() -> None:
    assert to_json_rows(raw_rows(0)).to_list() == []
