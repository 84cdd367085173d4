"""Factories of valid feed rows and parquet objects, for tests of readers.

The factories return the usual form of each column. A test overrides the column that it is about.
"""

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.timestamps import EventTimeRange

KEY = "raw/twap_statuses/hourly/2026/09/24/11/part-0000.parquet"
WALLET = "0xbcb881aa8d0b3e786d00d0ae83c52e0ed078dcc3"
CREATED_MS = 1_790_248_352_992
EVENT_NS = 1_790_248_352_992_506_967
"""Activation time of the real order 2250263."""

EVENT_TEXT = "2026-09-24T11:12:32.992506967"
EVENT = datetime(2026, 9, 24, 11, 12, 32, 992_506, tzinfo=UTC)
LAST_MODIFIED = datetime(2026, 9, 24, 13, tzinfo=UTC)
TIME_RANGE = EventTimeRange.before(LAST_MODIFIED)

_ROW: Mapping[str, object] = {
    "twap_id": 2_250_263,
    "time": EVENT_TEXT,
    "block_time": EVENT_TEXT,
    "block_number": 1_000_000_000,
    "state_user": WALLET,
    "state_coin": "HYPE",
    "state_side": "B",
    "state_sz": "108.36",
    "state_executedSz": "0.0",
    "state_executedNtl": "0.0",
    "state_minutes": 90,
    "state_reduceOnly": False,
    "state_randomize": True,
    "state_timestamp": CREATED_MS,
    "status": "activated",
}


def raw_rows(n: int = 1, /, **overrides: object) -> pl.DataFrame:
    """Return one `activated` row per order, one microsecond apart, with the columns of the feed.

    Args:
        n: Number of rows.
        overrides: Column → replacement: a Series or list with one value per row, or one value for all rows. Names
            that are not columns of the feed are appended as columns.
    """
    rows = pl.DataFrame([pl.Series(name, [value]).new_from_index(0, n) for name, value in _ROW.items()])
    row_number = pl.int_range(pl.len())
    time = pl.from_epoch(pl.lit(EVENT_NS) + row_number * 1_000, time_unit="ns").dt.strftime("%Y-%m-%dT%H:%M:%S%.9f")
    rows = rows.with_columns(pl.col("twap_id") + row_number, time=time, block_time=time)
    return rows.with_columns(_column(name, value, n) for name, value in overrides.items())


def _column(name: str, value: object, n: int) -> pl.Series:
    if isinstance(value, pl.Series):
        return value.alias(name)
    return pl.Series(name, value if isinstance(value, list) else [value] * n)


def nested(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the ``state_*`` columns as one struct ``state``, as the exchange's node writes them."""
    names = [name for name in rows.columns if name.startswith("state_")]
    state = pl.struct(pl.col(name).alias(name.removeprefix("state_")) for name in names).alias("state")
    return rows.select(pl.exclude(names), state)


def arrow_table(rows: pl.DataFrame, **overrides: pa.Array) -> pa.Table:
    """Return the rows as an Arrow table; ``overrides`` replace or append columns, with any Arrow type."""
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    for name, array in overrides.items():
        index = table.schema.get_field_index(name)
        table = table.append_column(name, array) if index < 0 else table.set_column(index, name, array)
    return table


def write_parquet(
    rows: pl.DataFrame | pa.Table, path: Path | None = None, *, rows_per_group: int | None = None, **options: object
) -> bytes:
    """Return the bytes of a parquet object.

    Args:
        rows: A frame or an Arrow table.
        path: File to write as well; its folders are created.
        rows_per_group: Rows per row group; one row group if None.
        options: Other options of pyarrow's writer.
    """
    buffer = io.BytesIO()
    pq.write_table(arrow_table(rows) if isinstance(rows, pl.DataFrame) else rows, buffer, rows_per_group, **options)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def listed(data: bytes = b"", key: str = KEY, *, etag: str = "e", hours: float = 0) -> ObjectRef:
    """Return the listed object of these bytes; ``hours`` are added to `LAST_MODIFIED`."""
    return ObjectRef(key, etag, LAST_MODIFIED + timedelta(hours=hours), len(data))


def opened(data: bytes) -> IO[bytes]:
    """Return the bytes as a file."""
    return io.BytesIO(data)
