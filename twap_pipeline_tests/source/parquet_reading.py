"""Helpers of the tests of `ParquetObject`: read an object, or the reason why it is refused."""

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.source.parquet import ParquetObject
from twap_pipeline_tests.feed_factories import KEY, arrow_table, opened, raw_rows, write_parquet


def open_object(data: bytes) -> ParquetObject:
    """Return an object with these bytes."""
    return ParquetObject(KEY, opened(data), len(data))


def read(data: bytes) -> pl.DataFrame:
    """Return all rows of an object."""
    parquet = open_object(data)
    return pl.concat([pl.DataFrame(schema=dict(parquet.schema)), *parquet.batches()])


def column(array: pa.Array) -> pl.Series:
    """Write a column to an object, in addition to the feed's columns, and read it back."""
    return read(write_parquet(arrow_table(raw_rows(len(array)), x=array)))["x"]


def refusal(data: bytes) -> str:
    """Return the reason why an object is refused."""
    with pytest.raises(ObjectInvalidError) as raised:
        read(data)
    assert raised.value.key == KEY
    return raised.value.reason
