"""Parameters of the tests' samples, and an independent reader.

It reads row by row, without polars, so that it shares no code with the package.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twap_pipeline.sample import SampleRequest

FULL = SampleRequest(datetime(2025, 8, 31, tzinfo=UTC), orders_per_day=600)
"""The default number of days, with fewer orders: 2025-08-17 to 2025-08-30."""

SMALL = SampleRequest(datetime(2025, 8, 20, tzinfo=UTC), days=3, orders_per_day=200)
"""The minimum size: 2025-08-17 to 2025-08-19."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def objects_of(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.parquet"))


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows as Python values, with `state` flattened; timestamps as integers of their unit."""
    table = pq.read_table(path)
    if pa.types.is_timestamp(table.schema.field("time").type):
        table = table.set_column(table.schema.get_field_index("time"), "time", table["time"].cast(pa.int64()))
    for row in table.to_pylist():
        state = row.pop("state", None) or {}
        yield row | {f"state_{name}": value for name, value in state.items()}


def microseconds_of(value: str | int) -> int:
    if isinstance(value, int):
        return value * 1_000 if value < 10**14 else value if value < 10**17 else value // 1_000
    time = datetime.strptime(value[:26], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    return (time - EPOCH) // timedelta(microseconds=1)


def status_of(value: str | dict[str, str]) -> tuple[str, str | None]:
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        return "error", value["error"]
    return ("error", value[7:]) if value.startswith("error: ") else (value, None)
