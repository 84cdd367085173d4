"""Functions for the tests of `ObjectReader`: the rows of an object, or the reason why the object is refused."""

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline_tests.feed_factories import KEY, listed, opened, write_parquet

MANY = BATCH_ROWS + 10
"""Rows of an object with two batches."""


def open_reader(rows: "pl.DataFrame | pa.Table") -> ObjectReader:
    data = write_parquet(rows)
    return ObjectReader(listed(data), opened(data))


def read_rows(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rows for batch in open_reader(rows).batches()])


def quarantined_rows(rows: "pl.DataFrame | pa.Table") -> pl.DataFrame:
    return pl.concat([batch.rejected for batch in open_reader(rows).batches()])


def refusal(rows: "pl.DataFrame | pa.Table") -> str:
    with pytest.raises(ObjectInvalidError) as raised:
        open_reader(rows)
    assert raised.value.key == KEY
    return raised.value.reason
