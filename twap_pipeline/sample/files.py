"""Parquet files as the vendor writes them; equal rows give equal bytes."""

import os
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_ROW_GROUP_ROWS = 100_000


def write_parquet(path: Path, rows: pl.DataFrame, modified_at: datetime) -> None:
    """Write one file with Arrow's plain types and set its modification time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema])
    pq.write_table(table.cast(schema), path, row_group_size=_ROW_GROUP_ROWS, compression="snappy")
    seconds = modified_at.timestamp()
    os.utime(path, (seconds, seconds))


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(dtype):
        return pa.dictionary(pa.int32(), pa.string())
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in dtype])
    return dtype
