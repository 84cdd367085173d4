"""Unit tests of `ParquetObject`: an object is read without loss in bounded batches, or refused completely."""

import json
import math
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.payload import to_json_rows
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline_tests.feed_factories import EVENT_NS, arrow_table, raw_rows, write_parquet
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.source.parquet_reading import column, open_object, read, refusal

pytestmark = pytest.mark.unit

TWENTY = write_parquet(raw_rows(20), compression="none")


# F1, F2: damaged and empty objects


@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"twap_id,wallet\n1,0x\n",
        b"\0" * 1_000,
        TWENTY[:-1],
        TWENTY[: len(TWENTY) // 2],
        TWENTY[:-4] + b"PARE",
        b"PARE" + TWENTY[4:-4] + b"PARE",
        TWENTY[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    ],
    ids=["zero bytes", "magic only", "text", "zeros", "cut by one", "halved", "encrypted", "encrypted too", "footer"],
)
def test_read_invalid_parquet_is_refused_with_its_size(data: bytes) -> None:
    assert refusal(data).startswith(f"is not a readable parquet file ({len(data)} bytes): ")


@pytest.mark.fault("F1")
@given(st.integers(0, len(TWENTY) - 1))
@examples(50)
def test_read_object_without_its_end_is_refused(length: int) -> None:
    refusal(TWENTY[:length])


@pytest.mark.fault("F1")
@given(st.integers(1, len(TWENTY) - 1))
@examples(50)
def test_read_object_without_its_start_is_refused(length: int) -> None:
    refusal(TWENTY[length:])


@pytest.mark.fault("F1", "S4")
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_read_flipped_page_header_bit_never_loses_rows(compression: str) -> None:
    data = write_parquet(raw_rows(20).select("twap_id"), compression=compression)
    partial = [
        (index, bit)
        for index in range(4, 60)
        for bit in range(8)
        if _rows(_flipped(data, index, bit)) not in (20, None)
    ]

    assert partial == []


@pytest.mark.fault("F1", "S4")
@given(st.data())
@examples(100)
def test_read_any_flipped_bit_never_loses_rows(data: st.DataObject) -> None:
    index, bit = data.draw(st.integers(0, len(TWENTY) - 9)), data.draw(st.integers(0, 7))

    assert _rows(_flipped(TWENTY, index, bit)) in (20, None)


def _flipped(data: bytes, index: int, bit: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


def _rows(data: bytes) -> int | None:
    """Return the number of rows of an object; None if it is refused."""
    try:
        return sum(batch.height for batch in open_object(data).batches())
    except ObjectInvalidError:
        return None


@pytest.mark.fault("F1")
def test_read_non_utf8_column_name_is_refused() -> None:
    named = write_parquet(raw_rows(2, vendor_note="x"), store_schema=False)

    refusal(named.replace(b"vendor_note", b"vendor\xff\xfe\xfdte"))


@pytest.mark.fault("F2")
def test_read_object_without_rows_has_no_batches() -> None:
    parquet = open_object(write_parquet(raw_rows(0)))

    assert parquet.num_rows == 0
    assert sum(batch.height for batch in parquet.batches()) == 0
    assert [name for name, _ in parquet.schema] == raw_rows().columns


# F4, F5: columns and types


def test_read_usual_object_is_unchanged() -> None:
    raw = raw_rows(3)

    assert read(write_parquet(raw)).equals(raw)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_read_any_compression(compression: str) -> None:
    assert read(write_parquet(raw_rows(3), compression=compression)).equals(raw_rows(3))


@pytest.mark.fault("F4")
def test_schema_contains_repeated_columns() -> None:
    table = arrow_table(raw_rows())
    repeated = table.append_column("status", table["status"])

    names = [name for name, _ in open_object(write_parquet(repeated)).schema]

    assert names.count("status") == 2


@pytest.mark.fault("F4")
@pytest.mark.parametrize("name", ["", "column_15", "*", "^.*$", "a.b", 'a"b\\\n', "row_number", "😀"])
def test_read_any_column_name_keeps_name_and_position(name: str) -> None:
    raw = raw_rows(2, **{name: "x", "last": "y"})

    assert read(write_parquet(raw)).equals(raw)


CASES: dict[str, tuple[pa.Array, list[object]]] = {
    "dictionary": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "dictionary of numbers": (pa.array([5, None]).dictionary_encode(), [5, None]),
    "large string": (pa.array(["ü", None], pa.large_string()), ["ü", None]),
    "string view": (pa.array(["ü", None], pa.string_view()), ["ü", None]),
    "binary": (pa.array([b"ab", None]), ["ab", None]),
    "large binary": (pa.array([b"ab", None], pa.large_binary()), ["ab", None]),
    "binary view": (pa.array([b"ab", None], pa.binary_view()), ["ab", None]),
    "decimal128": (pa.array([Decimal("1.50"), None], pa.decimal128(38, 2)), [Decimal("1.50"), None]),
    "decimal256": (pa.array([Decimal("1" * 60 + ".50"), None], pa.decimal256(70, 2)), ["1" * 60 + ".50", None]),
    "decimal32": (pa.array([Decimal("1.50"), None], pa.decimal32(5, 2)), [Decimal("1.50"), None]),
    "uint64": (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
    "float32": (pa.array([0.5, None], pa.float32()), [0.5, None]),
    "null": (pa.nulls(2), [None, None]),
    "struct": (pa.array([{"a": b"x"}, None]), [{"a": "x"}, None]),
    "list": (pa.array([[1, 2], None]), [[1, 2], None]),
    "list of dictionaries": (
        pa.array([["a"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        [["a"], None],
    ),
}


@pytest.mark.fault("F5")
@pytest.mark.parametrize(("array", "expected"), CASES.values(), ids=CASES)
def test_read_type_without_loss(array: pa.Array, expected: list[object]) -> None:
    assert column(array).to_list() == expected


@pytest.mark.parametrize("array", [array for array, _ in CASES.values()], ids=CASES)
def test_schema_equals_the_schema_of_batches(array: pa.Array) -> None:
    parquet = open_object(write_parquet(arrow_table(raw_rows(len(array)), x=array)))

    (frame,) = parquet.batches()

    assert list(frame.schema.items()) == parquet.schema


@pytest.mark.fault("F5")
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Etc/UTC", "Europe/Vienna", "+00:00", "+05:30", "Z"])
def test_read_timestamp_of_any_zone_keeps_its_instant(unit: str, zone: str | None) -> None:
    ticks = EVENT_NS // {"ms": 10**6, "us": 10**3, "ns": 1}[unit]

    assert column(pa.array([ticks, None], pa.timestamp(unit, zone))).to_physical().to_list() == [ticks, None]


DAMAGED: dict[str, Callable[[], pa.Array]] = {
    "string": lambda: pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xed\xa0\x80"]).buffers()),
    "dictionary": lambda: pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()).dictionary_encode(),
}


@pytest.mark.fault("V7")
@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_read_non_utf8_text_is_refused_with_its_column(damaged: Callable[[], pa.Array]) -> None:
    data = write_parquet(arrow_table(raw_rows(), state_coin=damaged()))

    assert refusal(data).startswith("column 'state_coin' cannot be read without loss: ")


EXTRA: dict[str, pa.Array] = {
    "bytes that are not text": pa.array([b"\xff\xfe"]),
    "fixed-size bytes": pa.array([b"\xff\xfe"], pa.binary(2)),
    "binary view": pa.array([b"\xff"], pa.binary_view()),
    "uuid": pa.array([b"0123456789abcdef"], pa.uuid()),
    "list of bytes": pa.array([[b"\xff"]]),
    "map of bytes": pa.array([[("a", b"\xff")]], pa.map_(pa.string(), pa.binary())),
    "list of wide decimals": pa.array([[Decimal(1)]], pa.list_(pa.decimal256(70, 2))),
    "date": pa.array([20_000], pa.date32()),
    "time of day": pa.array([1], pa.time64("us")),
    "duration": pa.array([1], pa.duration("us")),
    "half float": pa.array([1.5], pa.float16()),
    "fixed-size list": pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "timestamp with an offset": pa.array([1], pa.timestamp("us", "+05:30")),
    "json": pa.array(['{"a": 1}'], pa.json_()),
}


@pytest.mark.fault("F4")
@pytest.mark.parametrize("array", EXTRA.values(), ids=EXTRA)
def test_read_unknown_column_of_any_type(array: pa.Array) -> None:
    frame = read(write_parquet(arrow_table(raw_rows(), x=array)))

    assert frame.drop("x").equals(raw_rows())
    assert "x" in json.loads(to_json_rows(frame)[0])


_FAR = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
_NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
_ONE = pa.array([0, 1], pa.int32())


def _struct(**fields: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))


UNKNOWN: dict[str, tuple[pa.Array, object]] = {
    "text that is not UTF-8": (_NOT_UTF8, "ff"),
    "list of text that is not UTF-8": (pa.ListArray.from_arrays(_ONE, _NOT_UTF8), ["ff"]),
    "list of bytes": (pa.array([[b"\xff", b"a"]]), ["ff", "61"]),
    "list of struct of bytes": (pa.array([[{"b": b"\xff"}]]), [{"b": "ff"}]),
    "struct of list of struct of bytes": (pa.array([{"l": [{"b": b"a"}]}]), {"l": [{"b": "a"}]}),
    "farthest date": (_FAR, 2**31 - 1),
    "list of struct of bytes and farthest date": (
        pa.ListArray.from_arrays(_ONE, _struct(b=pa.array([b"\xff"]), d=_FAR)),
        [{"b": "ff", "d": 2**31 - 1}],
    ),
    "list of farthest timestamps": (pa.array([[2**62]], pa.list_(pa.timestamp("ms"))), [2**62]),
    "map of whole numbers": (pa.array([[(1, "a")]], pa.map_(pa.int32(), pa.string())), {"1": "a"}),
    "map of times": (pa.array([[(1, 2)]], pa.map_(pa.time64("us"), pa.int8())), {"00:00:00.000001": 2}),
    "map of maps": (
        pa.array([[("a", [(1, math.nan)])]], pa.map_(pa.string(), pa.map_(pa.int64(), pa.float64()))),
        {"a": {"1": "NaN"}},
    ),
    "map of timestamps with an offset": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.timestamp("us", "+05:30"))),
        {"a": "1970-01-01T00:00:00.000001+00:00"},
    ),
    "list of timestamps with an offset": (
        pa.array([[1]], pa.list_(pa.timestamp("us", "+05:30"))),
        ["1970-01-01T00:00:00.000001+00:00"],
    ),
    "fixed-size list of NaN": (pa.array([[math.nan, 1.5]], pa.list_(pa.float64(), 2)), ["NaN", "1.5"]),
    "list view": (pa.array([[1, 2]], pa.list_view(pa.int64())), [1, 2]),
    "half float NaN": (pa.array([math.nan], pa.float16()), "NaN"),
    "seconds beyond milliseconds": (pa.array([2**62], pa.duration("s")), 2**62),
    "list of uuid": (
        pa.ListArray.from_arrays(_ONE, pa.array([b"0123456789abcdef"], pa.uuid())),
        ["0123456789abcdef"],
    ),
    "struct of wide decimal": (_struct(d=pa.array([Decimal("1.50")], pa.decimal256(70, 2))), {"d": "1.50"}),
}


@pytest.mark.fault("F9")
@pytest.mark.parametrize(("array", "expected"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_column_is_kept_in_the_payload(array: pa.Array, expected: object) -> None:
    parquet = open_object(write_parquet(arrow_table(raw_rows(), x=array)))

    (frame,) = parquet.batches()

    assert json.loads(to_json_rows(frame)[0])["x"] == expected
    assert parquet.lost_columns == {}
    assert frame["x"].dtype == dict(parquet.schema)["x"]


NESTED: dict[str, tuple[pa.DataType, list[object], list[object]]] = {
    "list": (pa.list_(pa.binary()), [[b"a", None], None, [], [b"b"]], [["a", None], None, [], ["b"]]),
    "large list": (pa.large_list(pa.binary()), [[b"a"], None, [b"b"]], [["a"], None, ["b"]]),
    "fixed-size list": (pa.list_(pa.int64(), 2), [[1, 2], None, [3, 4]], [[1, 2], None, [3, 4]]),
    "list view": (pa.list_view(pa.string()), [["a"], None, ["b"]], [["a"], None, ["b"]]),
    "map": (pa.map_(pa.int8(), pa.binary()), [[(1, b"a")], None, [(2, None)]], [{"1": "a"}, None, {"2": None}]),
    "struct": (
        pa.struct([("a", pa.list_(pa.binary()))]),
        [{"a": [b"a"]}, None, {"a": None}],
        [{"a": ["a"]}, None, {"a": None}],
    ),
}


@pytest.mark.fault("F9")
@pytest.mark.parametrize(("kind", "values", "expected"), NESTED.values(), ids=NESTED)
def test_unknown_nested_column_keeps_nulls_and_positions(
    kind: pa.DataType, values: list[object], expected: list[object]
) -> None:
    frame = read(write_parquet(arrow_table(raw_rows(len(values)), x=pa.array(values, kind))))

    assert [json.loads(text)["x"] for text in to_json_rows(frame)] == expected


@pytest.mark.fault("F4")
def test_read_struct_with_repeated_field_is_refused() -> None:
    repeated = pa.StructArray.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["sz", "sz"])

    refusal(write_parquet(arrow_table(raw_rows(), state=repeated)))
