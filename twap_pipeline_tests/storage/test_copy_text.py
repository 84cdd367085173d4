"""The COPY text format, decoded by a small decoder that follows PostgreSQL's documentation."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twap_pipeline.domain.normalize import normalize
from twap_pipeline.domain.payload import to_json_rows
from twap_pipeline.domain.source_schema import flat_schema, map_columns
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline_tests.feed_factories import KEY, TIME_RANGE, raw_rows
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def decode(data: bytes) -> list[list[str | None]]:
    r"""Return rows as PostgreSQL reads COPY text: fields end at a tab, rows at a newline, ``\N`` is NULL.

    A backslash escapes the next character: one of ``b f n r t v``, octal or hexadecimal digits, or itself.
    A raw carriage return or NUL is an error, ``\.`` alone ends the data.
    """
    if not data:
        return []
    lines = data.decode("utf-8").split("\n")
    assert lines.pop() == "", "the last row ends with a line feed"
    assert "\\." not in lines, "the end-of-data marker"
    return [[_field(field) for field in line.split("\t")] for line in lines]


def _field(field: str) -> str | None:
    if field == "\\N":
        return None
    assert "\r" not in field
    assert "\0" not in field
    out, characters = [], iter(field)
    for character in characters:
        if character != "\\":
            out.append(character)
            continue
        following = next(characters)
        assert following not in "01234567x", "an unexpected numeric escape"
        out.append(ESCAPED.get(following, following))
    return "".join(out)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
awkward = st.text("\\\t\n\r\b\f\v Nnt.xbr01\"'\u2028é😀", max_size=12)


@given(st.lists(st.tuples(texts | awkward | st.none(), awkward | st.none()), max_size=6))
@examples(100)
@example([("\\N", None), ("\\", "\\\\"), ("", ""), ("\\.", "\\."), ("\\n", "\n"), ("\r\n", "\t")])
def test_any_text_survives_encoding(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")

    assert decode(copy_text(frame)) == [list(row) for row in rows]


@given(st.lists(awkward | st.none(), max_size=6))
@examples(75)
@example(["", None, "\\N", "\\."])
def test_single_column_survives_encoding(values: list[str | None]) -> None:
    frame = pl.DataFrame({"a": pl.Series(values, dtype=pl.String)})

    assert decode(copy_text(frame)) == [[value] for value in values]


@given(st.lists(texts | awkward, min_size=1, max_size=4))
@examples(75)
def test_json_payload_survives_encoding(values: list[str]) -> None:
    payloads = to_json_rows(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}))
    frame = pl.DataFrame({"key": "k", "raw_payload": payloads})

    fields = [row[1] for row in decode(copy_text(frame))]

    assert fields == payloads.to_list()
    assert [json.loads(field or "")["x"] for field in fields] == values


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=4), st.lists(st.booleans() | st.none(), max_size=4)
)
@examples(50)
def test_numbers_and_booleans_are_postgresql_literals(numbers: list[int | None], flags: list[bool | None]) -> None:
    number_rows = decode(copy_text(pl.DataFrame({"n": pl.Series(numbers, dtype=pl.Int64)})))
    flag_rows = decode(copy_text(pl.DataFrame({"f": pl.Series(flags, dtype=pl.Boolean)})))

    assert number_rows == [[None if number is None else str(number)] for number in numbers]
    assert flag_rows == [[None if flag is None else str(flag).lower()] for flag in flags]


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)), max_size=4))  # noqa: DTZ001
@examples(50)
@example([datetime(2026, 9, 24, 11, 12, 32, 6)])  # noqa: DTZ001
def test_times_keep_microseconds_and_name_utc(times: list[datetime]) -> None:
    aware = [time.replace(tzinfo=UTC) for time in times]
    frame = pl.DataFrame({"ts": pl.Series(aware, dtype=pl.Datetime("us", "UTC"))})

    fields = [row[0] for row in decode(copy_text(frame))]

    assert all(field is not None and field.endswith("+00") for field in fields)
    assert [datetime.strptime(f"{field}00", "%Y-%m-%d %H:%M:%S.%f%z") for field in fields] == aware


@pytest.mark.fault("V3")
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False).map(str), max_size=4))
@examples(50)
def test_numbers_as_text_keep_every_digit(sizes: list[str]) -> None:
    frame = pl.DataFrame({"size": pl.Series(sizes, dtype=pl.String)})

    assert decode(copy_text(frame)) == [[size] for size in sizes]


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    "key", ["a b", "a+b", "%25", "cafe\u0301", "😀", "back\\slash", "\\N", "tab\tline\nend\r", "x" * 1_024]
)
def test_unusual_key_survives_encoding(key: str) -> None:
    assert decode(copy_text(pl.DataFrame({"key": [key], "n": [1]}))) == [[key, "1"]]


def test_columns_keep_the_order_of_the_frame() -> None:
    assert copy_text(pl.DataFrame({"b": ["1"], "a": [2], "c": [None]})) == b"1\t2\t\\N\n"


@pytest.mark.parametrize("n", [0, 1])
def test_no_rows_give_no_bytes(n: int) -> None:
    assert copy_text(pl.DataFrame({"a": ["x"], "b": [1]}).head(n)) == (b"" if n == 0 else b"x\t1\n")


@pytest.mark.fault("F6")
def test_text_of_a_megabyte_survives_encoding() -> None:
    long = "\\\t\n" * 350_000

    assert decode(copy_text(pl.DataFrame({"a": [long]}))) == [[long]]


def test_canonical_frame_survives_encoding() -> None:
    raw = raw_rows(
        3, state_coin=["a\tb", "\\N", "😀"], status=["error: a\nb", "finished", None], state_sz=["1E-30", None, "5."]
    )
    mapping = map_columns(KEY, flat_schema(KEY, list(raw.schema.items())))
    rows = normalize(raw, mapping, {"state_timestamp": "ms"}, TIME_RANGE).rows

    decoded = decode(copy_text(rows))

    expected = rows.with_columns(pl.col("ts", "started_at").dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00"))
    assert decoded == [list(row) for row in expected.with_columns(pl.all().cast(pl.String)).iter_rows()]
