"""Parameters of the tests' samples, and an independent reader.

It reads row by row, without polars, so that it shares no code with the package.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twap_pipeline.domain.status import STATUS_RANK
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


def read_sample(directory: Path) -> tuple[Counter[str], dict[tuple[int, str, int], str]]:
    """Return row counts by outcome, and the status with precedence per (twap_id, wallet, microsecond)."""
    row_counts: Counter[str] = Counter()
    table: dict[tuple[int, str, int], str] = {}
    repetitions: dict[tuple[int, str, int, str], int] = {}
    for path in objects_of(directory):
        for row in rows_of(path):
            if row.get("_metadata"):
                row_counts["metadata_rows"] += 1
            elif row["twap_id"] is None or row["state_sz"] != row["state_sz"] or str(row["time"]).startswith("1970"):
                row_counts["quarantined"] += 1
            else:
                key = (int(row["twap_id"]), row["state_user"].lower(), microseconds_of(row["time"]))
                status, _ = status_of(row["status"])
                repetitions[(*key, status)] = repetitions.get((*key, status), -1) + 1
                table[key] = max(table.get(key, status), status, key=lambda name: STATUS_RANK.get(name, 2))
    row_counts["republished"] = sum(repetitions.values())
    row_counts["superseded"] = len(repetitions) - len(table)
    return row_counts, table


def count_orders(table: dict[tuple[int, str, int], str], statuses: Collection[str]) -> int:
    """Return the number of orders with an event of one of the statuses."""
    return len({twap_id for (twap_id, _, _), status in table.items() if status in statuses})
