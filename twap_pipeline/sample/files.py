"""Frames → parquet files as the vendor writes them, the same bytes every time.

Here belong bytes and file times. What a file holds is decided by ``layout`` and ``edge_cases``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

ROW_GROUP_ROWS = 100_000


def write_parquet(
    path: Path, rows: pl.DataFrame, modified_at: datetime, *, row_group_rows: int = ROW_GROUP_ROWS
) -> int:
    """Write one file with Arrow's plain types and give it a time of modification; return its size in bytes."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema])
    pq.write_table(table.cast(schema), path, row_group_size=row_group_rows, compression="snappy")
    seconds = modified_at.timestamp()
    os.utime(path, (seconds, seconds))
    return path.stat().st_size


def _plain(dtype: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_dictionary(dtype):
        return pa.dictionary(pa.int32(), pa.string())
    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in dtype])
    return dtype
