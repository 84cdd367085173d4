"""Unit tests of the parsers: numbers keep every digit or are null; ids, wallets and statuses are canonical."""

import json
import math
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twap_pipeline.domain import parsers
from twap_pipeline_tests.feed_factories import WALLET
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

INVALID_NUMBERS = [
    "",
    " ",
    "NaN",
    "nan",
    "Infinity",
    "-inf",
    "1_000",
    "1,5",
    "0x10",
    "--1",
    "+",
    ".",
    "e5",
    "1 2",
    "1e",
    "1e1000",
    "12\0",
    "½",
    "1" * 501,
    "0." + "1" * 501,
    "None",
    "\ufeff1",
]
NON_ASCII_DIGITS = ["\u0663", "\uff11\uff12", "1\u0663.5", "1.\u0663", "1e\u0663", "\u0a69"]
"""Unicode digits that PostgreSQL's NUMERIC does not accept."""


def decimal_texts(column: pl.Series) -> list[str | None]:
    return column.to_frame("x").select(parsers.decimal_text("x", column.dtype))["x"].to_list()


def integer_texts(column: pl.Series) -> list[str | None]:
    return column.to_frame("x").select(parsers.integer_text("x", column.dtype))["x"].to_list()


def minutes(column: pl.Series) -> list[int | None]:
    return column.to_frame("x").select(parsers.parse_minutes("x", column.dtype))["x"].to_list()


def wallets(*texts: str | None) -> list[str | None]:
    return pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)}).select(parsers.parse_wallet("x"))["x"].to_list()


def split(*texts: str | None) -> list[tuple[str | None, str | None]]:
    return parsers.split_status(pl.Series("status", texts, pl.String)).rows()


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


# Sizes


@pytest.mark.fault("V3")
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60))
@examples(100)
@example(Decimal("1E-30"))
@example(Decimal("108.360"))
@example(Decimal("1" * 60 + ".5"))
def test_decimal_text_any_decimal_round_trips(number: Decimal) -> None:
    (out,) = decimal_texts(text(str(number)))

    assert out == str(number)


@pytest.mark.fault("V3")
@pytest.mark.parametrize(
    "value", ["108.36", "0.0", "00.10", "-0", "+5", ".5", "5.", "1E-30", "1.0e+5", "1e999", "9" * 60]
)
def test_decimal_text_every_form_is_verbatim(value: str) -> None:
    assert decimal_texts(text(value)) == [value]
    assert Decimal(value).is_finite()


@pytest.mark.fault("F5")
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**29), max_value=10**29, places=8), max_size=5
    )
)
@examples(50)
def test_decimal_text_decimal128_keeps_digits_and_scale(numbers: list[Decimal]) -> None:
    out = decimal_texts(pl.Series(numbers, dtype=pl.Decimal(38, 8)))

    assert [Decimal(out_text or "NaN").as_tuple() for out_text in out] == [number.as_tuple() for number in numbers]


@pytest.mark.fault("F5")
@given(st.integers(-(2**63), 2**63 - 1))
@examples(50)
def test_decimal_text_integer_is_its_digits(number: int) -> None:
    assert decimal_texts(pl.Series([number], dtype=pl.Int64)) == [str(number)]


@pytest.mark.fault("F5")
@given(st.floats(allow_nan=False, allow_infinity=False))
@examples(100)
@example(0.1)
@example(1e16)
@example(1e-7)
@example(1e22)
@example(5e-324)
@example(-0.0)
@example(1.7976931348623157e308)
def test_decimal_text_double_is_its_shortest_text(number: float) -> None:
    (out,) = decimal_texts(pl.Series([number]))

    assert out is not None
    assert Decimal(out) == Decimal(repr(number))
    assert len(Decimal(out).normalize().as_tuple().digits) <= 17


@pytest.mark.fault("F5")
def test_decimal_text_float32_is_its_shortest_text() -> None:
    assert decimal_texts(pl.Series([0.1, 2.5], dtype=pl.Float32)) == ["0.1", "2.5"]


@pytest.mark.fault("V2")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [pl.Float32(), pl.Float64()])
def test_decimal_text_not_finite_is_null(number: float, dtype: pl.DataType) -> None:
    assert decimal_texts(pl.Series([number, 1.5], dtype=dtype)) == [None, "1.5"]


@pytest.mark.fault("V2")
@pytest.mark.parametrize("value", INVALID_NUMBERS)
def test_decimal_text_invalid_text_is_null(value: str) -> None:
    assert decimal_texts(text(value, "1")) == [None, "1"]


@pytest.mark.fault("V2")
@pytest.mark.parametrize("value", NON_ASCII_DIGITS)
def test_decimal_text_non_ascii_digits_are_null(value: str) -> None:
    assert decimal_texts(text(value, "1")) == [None, "1"]


@pytest.mark.fault("V3")
@given(st.text(alphabet="0123456789+-.eE_ \t\u0663", max_size=8))
@examples(100)
def test_decimal_text_any_text_is_finite_ascii_or_null(value: str) -> None:
    (out,) = decimal_texts(text(value))

    assert out is None or (out.isascii() and out == value.strip() and Decimal(out).is_finite())


def test_decimal_text_strips_whitespace() -> None:
    assert decimal_texts(text(" 12 ", "1\n", "\u00a07")) == ["12", "1", "7"]


def test_parsers_of_null_column_return_nulls() -> None:
    nulls = pl.Series([None, None], dtype=pl.Null)

    assert (decimal_texts(nulls), integer_texts(nulls), minutes(nulls)) == ([None] * 2, [None] * 2, [None] * 2)


# Ids and minutes


@pytest.mark.fault("V7")
@given(st.integers(0, 10**97))
@examples(50)
@example(2**63)
@example(2**64)
def test_integer_text_of_any_length_is_exact(number: int) -> None:
    assert integer_texts(text(str(number), f"00{number}")) == [str(number)] * 2


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("column", "digits"),
    [
        (pl.Series([2_250_263]), "2250263"),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), "18446744073709551615"),
        (pl.Series([2_250_263.0]), "2250263"),
        (pl.Series([2_250_263.0], dtype=pl.Float32), "2250263"),
        (pl.Series([Decimal("2250263")], dtype=pl.Decimal(38, 0)), "2250263"),
        (pl.Series([Decimal("2250263.00")], dtype=pl.Decimal(38, 2)), "2250263"),
        (pl.Series(["2250263"]), "2250263"),
        (pl.Series([" 2250263 "]), "2250263"),
        (pl.Series(["002250263"]), "2250263"),
        (pl.Series([0]), "0"),
        (pl.Series(["000"]), "0"),
    ],
)
def test_integer_text_is_equal_for_every_type(column: pl.Series, digits: str) -> None:
    assert integer_texts(column) == [digits]


@pytest.mark.fault("V1")
@pytest.mark.parametrize(
    "column",
    [
        pl.Series([-1]),
        pl.Series([2_250_263.5]),
        pl.Series([-3.0]),
        pl.Series([1e17]),
        pl.Series([math.nan]),
        pl.Series([math.inf]),
        pl.Series([Decimal("1.50")], dtype=pl.Decimal(10, 2)),
        pl.Series(["-0"]),
        pl.Series(["+5"]),
        pl.Series(["1e3"]),
        pl.Series(["1.0"]),
        pl.Series(["1" * 101]),
        *(pl.Series([value]) for value in INVALID_NUMBERS),
    ],
)
def test_integer_text_not_whole_is_null(column: pl.Series) -> None:
    assert integer_texts(column) == [None]


@pytest.mark.fault("V1")
@pytest.mark.parametrize("value", NON_ASCII_DIGITS)
def test_integer_text_non_ascii_digits_are_null(value: str) -> None:
    assert integer_texts(text(value)) == [None]


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([5, 1_440, 10_080]), [5, 1_440, 10_080]),
        (pl.Series([30.0, 30.5, math.nan]), [30, None, None]),
        (pl.Series(["30", " 30 ", "30.0", "-5", "\u0663"]), [30, 30, None, None, None]),
        (pl.Series([2**31 - 1, 2**31, -1, None]), [2**31 - 1, None, None, None]),
        (pl.Series(["9" * 30]), [None]),
        (pl.Series([Decimal("30.00"), Decimal("30.50")], dtype=pl.Decimal(10, 2)), [30, None]),
    ],
)
def test_minutes_are_whole_and_within_integer(column: pl.Series, expected: list[int | None]) -> None:
    assert minutes(column) == expected


# Wallets


@pytest.mark.fault("V7")
@given(st.text("0123456789abcdefABCDEF", min_size=40, max_size=40), st.sampled_from(["0x", "0X", " 0x"]))
@examples(50)
def test_wallet_in_any_case_is_lower_case(digits: str, prefix: str) -> None:
    assert wallets(prefix + digits) == ["0x" + digits.lower()]


@pytest.mark.fault("V1")
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        WALLET[2:],
        WALLET[:-1],
        WALLET + "0",
        WALLET[:-1] + "g",
        WALLET[:-1] + "\0",
        WALLET + "\0",
        "0x" + "\u0661" * 40,
        "0x" + "\uff41" * 40,
        f"{WALLET} {WALLET}",
    ],
)
def test_wallet_invalid_address_is_null(value: str | None) -> None:
    assert wallets(value, WALLET) == [None, WALLET]


# Statuses


@pytest.mark.parametrize(
    "value", ["activated", "finished", "waitingForTrigger", "paused", "", "1", "null", "[1]", "{bad", '"']
)
def test_split_status_without_message_is_verbatim(value: str) -> None:
    assert split(value) == [(value, None)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"error": "Insufficient margin to place order."}', ("error", "Insufficient margin to place order.")),
        ("error: Insufficient margin: 5 USD", ("error", "Insufficient margin: 5 USD")),
        ("error", ("error", None)),
        ("error:", ("error", "")),
        ('{"error": ""}', ("error", "")),
        ('{"error": {"code": 5, "text": "ü"}}', ("error", '{"code": 5, "text": "\\u00fc"}')),
        ('{"error": 5}', ("error", "5")),
        ('{"error": ["a"]}', ("error", '["a"]')),
        ('{"finished": {}}', ("finished", "{}")),
        ('{"error": "x", "finished": null}', ("error", "x")),
        ('"finished"', ("finished", None)),
        ('{"a": 1, "b": 2}', ('{"a": 1, "b": 2}', None)),
        ("ERROR: x", ("ERROR: x", None)),
        ("terror: x", ("terror: x", None)),
        ("{}", (None, None)),
        ('{"error": null}', (None, None)),
        (None, (None, None)),
    ],
)
def test_split_status_every_error_form(value: str | None, expected: tuple[str | None, str | None]) -> None:
    assert split(value) == [expected]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@examples(50)
@example('quote " backslash \\ line\nend 😀')
def test_split_status_message_is_exact_in_every_form(message: str) -> None:
    as_struct = parsers.status_text(pl.Series("status", [{"error": message}]))

    assert split(json.dumps({"error": message})) == [("error", message)]
    assert split(json.dumps({"error": message}, ensure_ascii=False)) == [("error", message)]
    assert parsers.split_status(as_struct).rows() == [("error", message)]


@pytest.mark.fault("V12")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"status": "finished"}, ("finished", None)),
        ({"status": "activated", "description": None}, ("activated", None)),
        ({"status": "terminated", "description": ""}, ("terminated", None)),
        ({"status": "error", "description": "Insufficient margin: 5 USD"}, ("error", "Insufficient margin: 5 USD")),
        ({"description": "why", "status": "stopped"}, ("stopped", "why")),
        ({"status": "error: why", "description": None}, ("error", "why")),
        ({"status": "paused", "description": None}, ("paused", None)),
        ({"status": None, "description": None}, (None, None)),
        ({"status": "finished", "code": "0"}, ("finished", None)),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["text", "text with blanks", "struct", "map"])
def test_split_status_of_the_exchange_api(value: dict[str, str | None], expected: object, form: str) -> None:
    """The exchange's API writes a status as an object; without this form no order would ever end."""
    if form == "map":
        column = pl.Series("status", [value, None], pl.Map(pl.String, pl.String))
    elif form == "struct":
        column = pl.Series("status", [value, None])
    else:
        column = text(json.dumps(value) if form == "text" else f"\n {json.dumps(value, indent=2)}", None)

    assert parsers.split_status(parsers.status_text(column)).rows() == [expected, (None, None)]


@pytest.mark.fault("F5")
def test_split_status_of_structs() -> None:
    structs = pl.Series(
        "status",
        [{"error": "x", "finished": None}, None, {"error": None, "finished": "y"}, {"error": None, "finished": None}],
    )

    assert parsers.split_status(parsers.status_text(structs)).rows() == [
        ("error", "x"),
        (None, None),
        ("finished", "y"),
        (None, None),
    ]


def test_split_status_keeps_order_and_repetitions() -> None:
    value = ["finished", None, "error: a", "activated", "error: a", None, "finished"]

    assert [status for status, _ in split(*value)] == [
        "finished",
        None,
        "error",
        "activated",
        "error",
        None,
        "finished",
    ]


def test_split_status_of_no_rows_is_empty() -> None:
    assert split() == []
    assert parsers.status_text(pl.Series("status", [None, None], pl.Null)).to_list() == [None, None]


@pytest.mark.fault("V7")
@pytest.mark.parametrize(
    "value",
    ['{"error": "\\ud800"}', '"\\udc00"', '{"\\ud800": "x"}', '{"a":' * 20_000, '{"error":' + "[" * 20_000],
    ids=["surrogate in message", "surrogate alone", "surrogate in name", "deep objects", "deep lists"],
)
def test_split_status_json_that_python_rejects_is_verbatim(value: str) -> None:
    (status, _), other = split(value, "activated")

    assert status in (value, "error")
    assert other == ("activated", None)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
@examples(50)
def test_split_status_any_json_returns_one_row(value: object) -> None:
    assert len(split(json.dumps(value))) == 1
