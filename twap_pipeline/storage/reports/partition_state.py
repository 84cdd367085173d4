"""What the tables hold for a partition, which is a UTC date of objects, whichever runs loaded it.

Put here what Dagster's UI shows about a partition. What one run added belongs to the results of the run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.reports", "partition_state.sql")


@dataclass(frozen=True, slots=True)
class ObjectsPartition:
    """The state of the objects of a partition, of any data set.

    Args:
        objects_failed: Objects whose last attempt failed, parked ones included.
        attempts: Attempts to load an object, failed and replaced ones included.
        bytes_fetched: Bytes that these attempts received from the store.
        row_counts: Row counts of the loaded versions.
        data_warnings: Warning → rows; at most 20.
        failed_objects: Key, failed attempts and error text; at most 20.
    """

    objects_loaded: int
    objects_failed: int
    objects_parked: int
    bytes_loaded: int
    attempts: int
    bytes_fetched: int
    row_counts: RowCounts
    data_warnings: Mapping[str, int]
    failed_objects: Sequence[tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class StatusPartition(ObjectsPartition):
    """The state of a partition of ``twap_status``.

    Args:
        events_by_hour: UTC hour, 0 to 23 → stored events.
        events_by_status: Status → stored events, descending; "NULL" for a missing status.
        latest_events: The latest stored events, newest first; at most 8.
    """

    events_by_hour: Mapping[int, int]
    events_by_status: Mapping[str, int]
    latest_events: Sequence[RowMapping]

    @property
    def rows(self) -> int:
        """Number of rows in ``twap_status`` that come from the objects of the date.

        An event in several objects counts for the date of the object that its row names. Row counts do not: an updated
        row was inserted by an earlier object.
        """
        return sum(self.events_by_hour.values())


@dataclass(frozen=True, slots=True)
class FillsPartition(ObjectsPartition):
    """The state of a partition of ``twap_fills``.

    Args:
        fills_by_hour: UTC hour, 0 to 23 → stored fills.
        fills_by_market: Dex, or the market if the fill has no dex → stored fills, descending.
        notional: Sum of price times size, in the quote symbols of the fills.
        latest_fills: The latest stored fills, newest first; at most 8.
    """

    fills_by_hour: Mapping[int, int]
    fills_by_market: Mapping[str, int]
    notional: Decimal
    latest_fills: Sequence[RowMapping]

    @property
    def rows(self) -> int:
        """Number of rows in ``twap_fills`` that come from the objects of the date."""
        return sum(self.fills_by_hour.values())


@dataclass(frozen=True, slots=True)
class OrdersPartition:
    """The orders that started on the date; each order belongs to one date.

    ``orders_by_status`` is descending, with "NULL" for a missing status. ``notional_executed`` is in USD.
    """

    orders_by_status: Mapping[str, int]
    open_orders: int
    underfilled_orders: int
    notional_executed: Decimal


def status_partition(connection: Connection, day: date) -> StatusPartition:
    """Return the state of a partition of ``twap_status``."""
    by_hour: Counter[int] = Counter()
    by_status: Counter[str] = Counter()
    for row in _rows(connection, "events", day):
        by_hour[row["hour"]] += row["events"]
        by_status[row["name"]] += row["events"]
    return StatusPartition(
        **_objects_fields(connection, TWAP_STATUS, day),
        events_by_hour={hour: by_hour[hour] for hour in range(24)},
        events_by_status=dict(by_status.most_common()),
        latest_events=_rows(connection, "latest_events", day),
    )


def fills_partition(connection: Connection, day: date) -> FillsPartition:
    """Return the state of a partition of ``twap_fills``."""
    by_hour: Counter[int] = Counter()
    by_market: Counter[str] = Counter()
    rows = _rows(connection, "fills", day)
    for row in rows:
        by_hour[row["hour"]] += row["fills"]
        by_market[row["name"]] += row["fills"]
    return FillsPartition(
        **_objects_fields(connection, TWAP_FILLS, day),
        fills_by_hour={hour: by_hour[hour] for hour in range(24)},
        fills_by_market=dict(by_market.most_common()),
        notional=sum((row["notional"] for row in rows), Decimal()),
        latest_fills=_rows(connection, "latest_fills", day),
    )


def _objects_fields(connection: Connection, data_set: DataSet, day: date) -> dict[str, Any]:
    """Return the fields of `ObjectsPartition`."""
    name = data_set.name
    objects = _rows(connection, "objects", day, data_set=name, attempts_max=ATTEMPTS_MAX)[0]
    attempts = _rows(connection, "attempts", day, data_set=name)[0]
    warnings = _rows(connection, "data_warnings", day, data_set=name)
    return {
        "objects_loaded": objects["loaded"],
        "objects_failed": objects["failed"],
        "objects_parked": objects["parked"],
        "bytes_loaded": objects["bytes_loaded"],
        "attempts": attempts["attempts"],
        "bytes_fetched": attempts["bytes_fetched"],
        "row_counts": RowCounts(**{outcome: int(objects[f"rows_{outcome}"]) for outcome in RowCounts().as_dict()}),
        "data_warnings": {row["key"]: int(row["rows"]) for row in warnings},
        "failed_objects": [
            (row["s3_object_key"], row["failed_attempts"], row["error_text"])
            for row in _rows(connection, "failed_objects", day, data_set=name)
        ],
    }


def orders_partition(connection: Connection, day: date) -> OrdersPartition:
    """Return the state of a partition of ``twap_orders``."""
    rows = _rows(connection, "orders", day)
    return OrdersPartition(
        orders_by_status={row["name"]: row["orders"] for row in rows},
        open_orders=sum(row["open_orders"] for row in rows),
        underfilled_orders=sum(row["underfilled_orders"] for row in rows),
        notional_executed=sum((row["notional_executed"] for row in rows), Decimal()),
    )


def _rows(connection: Connection, query: str, day: date, **parameters: object) -> Sequence[RowMapping]:
    return connection.execute(text(_QUERIES[query]), {"day": day, **parameters}).mappings().all()
