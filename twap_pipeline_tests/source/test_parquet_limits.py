"""Unit tests of `ParquetObject`: bounded batches, decompression bombs, values and rows of extreme size."""

import re

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.source.parquet import BATCH_ROWS, CELL_MAX_BYTES
from twap_pipeline_tests.feed_factories import KEY, arrow_table, raw_rows, write_parquet
from twap_pipeline_tests.source.parquet_reading import column, open_object, refusal

# Batches


@pytest.mark.parametrize("rows_per_group", [1, 3, 7, 20, 50])
@pytest.mark.parametrize("rows", [1, 6, 20, 100])
def test_batches_are_bounded_and_in_order(rows_per_group: int, rows: int) -> None:
    data = write_parquet(raw_rows(20), rows_per_group=rows_per_group)

    batches = list(open_object(data).batches(rows=rows))

    assert all(0 < batch.height <= rows for batch in batches)
    assert pl.concat(batches).equals(raw_rows(20))


def test_batches_can_be_read_again_by_column() -> None:
    parquet = open_object(write_parquet(raw_rows(3)))

    (times,) = parquet.batches(["time"])
    (whole,) = parquet.batches()

    assert times.equals(raw_rows(3).select("time"))
    assert whole.equals(raw_rows(3))


def test_batches_of_no_columns_are_empty() -> None:
    assert all(batch.width == 0 for batch in open_object(write_parquet(raw_rows(20))).batches([]))


def test_batches_column_name_with_dot_is_another_column() -> None:
    parquet = open_object(write_parquet(raw_rows(2, **{"time.x": "other"})))

    (times,) = parquet.batches(["time"])

    assert times["time"].to_list() == raw_rows(2)["time"].to_list()


# F6: decompression bombs


@pytest.mark.fault("F6")
def test_read_rows_that_exceed_the_bytes_is_refused() -> None:
    table = pa.table({"twap_id": pa.nulls(20_000_000)})

    assert "declares 20000000 rows in " in refusal(write_parquet(table, write_statistics=False))


@pytest.mark.fault("F6")
def test_read_million_real_rows_in_batches() -> None:
    data = write_parquet(pa.table({"twap_id": pa.array(range(1_000_001))}), use_dictionary=False, compression="none")

    heights = [batch.height for batch in open_object(data).batches()]

    assert sum(heights) == 1_000_001
    assert max(heights) == BATCH_ROWS


@pytest.mark.fault("F6")
def test_batches_of_long_repeated_text_are_bounded() -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), pa.array(["a" * 50_000]))
    data = write_parquet(arrow_table(raw_rows(3_000), x=long), compression="zstd")
    assert len(data) < 100_000

    sizes = [batch["x"].str.len_bytes().sum() for batch in open_object(data).batches()]

    assert sum(sizes) == 3_000 * 50_000
    assert max(sizes) < 64 * 1024 * 1024


@pytest.mark.fault("F6")
@pytest.mark.parametrize(("max_bytes", "height"), [(20_000_000, 300), (1_000_000, 20), (1, 1)])
def test_batches_of_long_text_are_split_by_bytes(max_bytes: int, height: int) -> None:
    table = arrow_table(raw_rows(300), x=pa.array([f"{row:03}" + "a" * 49_000 for row in range(300)]))
    data = write_parquet(table, compression="zstd")

    batches = list(open_object(data).batches(max_bytes=max_bytes))

    assert 0.9 * height <= batches[0].height <= height
    assert [text[:3] for batch in batches for text in batch["x"]] == [f"{row:03}" for row in range(300)]


# F8: values and rows of extreme size


HUGE = "x" * (CELL_MAX_BYTES + 1)


@pytest.mark.fault("F8")
@pytest.mark.parametrize(
    "columns",
    [
        {"x": pa.array([HUGE * 3])},
        {"x": pa.array([HUGE.encode() * 3])},
        {"state_coin": pa.array([HUGE * 3])},
        {"x": pa.array([[{"a": HUGE * 3}]])},
        {f"x{number}": pa.array([HUGE[:-1000]]) for number in range(3)},
    ],
    ids=["text", "bytes", "known column", "nested text", "row"],
)
def test_huge_row_is_refused_before_decoding(columns: dict[str, pa.Array]) -> None:
    data = write_parquet(arrow_table(raw_rows(), **columns), compression="zstd")
    assert len(data) < 20_000

    with pytest.raises(ObjectInvalidError, match=f"{KEY}: 6[0-9]+ bytes in 1 rows, so a row exceeds 4194304 bytes"):
        open_object(data)


@pytest.mark.fault("F8")
@pytest.mark.parametrize(
    ("value", "column"),
    [(HUGE, "x"), (["a" * 1_000] * 3_000, "x"), ({"a": HUGE}, "x"), (HUGE, "state_coin")],
    ids=["text", "list", "struct", "known column"],
)
def test_huge_value_among_others_is_refused_by_name(value: object, column: str) -> None:
    """The footer contains only sums: the value is found when its chunk is decoded."""
    array = pa.array([None] * 2_500 + [value] + [None] * 99)
    data = write_parquet(arrow_table(raw_rows(2_600), **{column: array}), compression="zstd")

    assert re.match(rf"column '{column}', row 2500: the value has [23]\d{{6}} bytes and the row ", refusal(data))


@pytest.mark.fault("F8")
def test_huge_row_among_others_is_refused_by_name() -> None:
    columns = {f"x{number}": pa.array([None] * 7 + [HUGE[:-1000]] + [None] * 92) for number in range(3)}

    assert re.match(r"column 'x\d', row 7: .* the row 6", refusal(write_parquet(arrow_table(raw_rows(100), **columns))))


@pytest.mark.fault("F8")
def test_value_of_the_maximum_size_is_read() -> None:
    long = "x" * (CELL_MAX_BYTES - 100)

    assert column(pa.array([None, long, None])).to_list() == [None, long, None]
