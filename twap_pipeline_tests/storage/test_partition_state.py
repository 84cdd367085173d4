"""The state of a partition: what the tables hold for a UTC date of objects, whichever runs loaded it."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import record_audit_read, requeue
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.reports.partition_state import (
    OrdersPartition,
    StatusPartition,
    orders_partition,
    status_partition,
)
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

NEXT_DAY = DAY + timedelta(days=1)


def load(engine: Engine, bucket: Bucket) -> None:
    ingest_everything(LocalDirectory(bucket.directory), engine)


def status(engine: Engine, day: date = DAY) -> StatusPartition:
    with engine.connect() as connection:
        return status_partition(connection, day)


def key(day: date, name: str) -> str:
    return f"hourly/{day:%Y/%m/%d}/12/{name}.parquet"


def test_status_partition_counts_objects_rows_and_events(engine: Engine, bucket: Bucket) -> None:
    bucket.put(
        key(DAY, "a"),
        [event(1), event(1, status="finished", minute=30, executed="108.36"), event(2, wallet="?")],
    )
    bucket.put(key(DAY, "b"), [event(3, minute=90, status="paused")])
    load(engine, bucket)

    state = status(engine)

    size_bytes = sum((bucket.directory / key(DAY, name)).stat().st_size for name in "ab")
    assert (state.objects_loaded, state.objects_failed, state.rows) == (2, 0, 3)
    assert (state.row_counts.total, state.row_counts.inserted, state.row_counts.quarantined) == (4, 3, 1)
    assert (state.bytes_loaded, state.bytes_fetched, state.attempts) == (size_bytes, size_bytes, 2)
    assert {hour: count for hour, count in state.events_by_hour.items() if count} == {12: 2, 13: 1}
    assert state.events_by_status == {"activated": 1, "finished": 1, "paused": 1}
    assert state.data_warnings == {"unknown status 'paused', stored verbatim": 1}
    assert [row["twap_id"] for row in state.latest_events] == ["3", "1", "1"]
    assert state.latest_events[1]["size_executed"] == Decimal("108.36")


def test_status_partition_of_day_without_objects_is_empty(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key(DAY, "a"), [event(1)])
    load(engine, bucket)

    state = status(engine, NEXT_DAY)

    assert (state.objects_loaded, state.rows, state.attempts, state.bytes_fetched) == (0, 0, 0, 0)
    assert state.latest_events == []


SHARED_EVENTS: dict[str, list[tuple[date, str, list[dict[str, object]], int]]] = {
    "updated in the same day": [
        (DAY, "a", [event(1), event(2)], 0),
        (DAY, "b", [event(2, asset="BTC"), event(3)], 1),
    ],
    "unchanged in the same day": [
        (DAY, "a", [event(1), event(2)], 0),
        (DAY, "b", [event(2), event(3)], -1),
    ],
    "updated by the next day": [
        (DAY, "a", [event(1), event(2)], 0),
        (NEXT_DAY, "b", [event(2, asset="BTC"), event(3)], 1),
    ],
    "overwritten object": [(DAY, "a", [event(1), event(2)], 0), (DAY, "a", [event(2, asset="BTC"), event(3)], 1)],
}


@pytest.mark.parametrize("name", SHARED_EVENTS)
def test_status_partition_rows_add_up_to_stored_rows(name: str, engine: Engine, bucket: Bucket) -> None:
    """The sum of inserted, updated and unchanged rows counts an event of two objects twice."""
    for day, object_name, rows, hours in SHARED_EVENTS[name]:
        bucket.put(key(day, object_name), rows, hours=hours)
        load(engine, bucket)

    with engine.connect() as connection:
        stored = connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one()
    assert status(engine).rows + status(engine, NEXT_DAY).rows == stored == 3


def test_status_partition_names_failed_and_parked_objects(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key(DAY, "a"), [event(1)])
    for name, attempts in (("failed", 1), ("parked", 3)):
        (bucket.directory / key(DAY, name)).write_bytes(b"not parquet")
        store = LocalDirectory(bucket.directory)
        (ref,) = [ref for ref in store.list_objects() if ref.key == key(DAY, name)]
        for _ in range(attempts):
            ingest_objects(store, engine, [ref], DAY)

    state = status(engine)

    assert (state.objects_loaded, state.objects_failed, state.objects_parked) == (0, 2, 1)
    assert [(name, attempts) for name, attempts, _ in state.failed_objects] == [
        (key(DAY, "failed"), 1),
        (key(DAY, "parked"), 3),
    ]
    assert "parquet" in state.failed_objects[0][2]
    assert (state.bytes_loaded, state.attempts, state.bytes_fetched) == (0, 4, 4 * len(b"not parquet"))


def test_bytes_fetched_include_replaced_versions_and_no_audit(engine: Engine, bucket: Bucket) -> None:
    """The bytes of a deep audit of any dates are recorded in the history of its first object."""
    sizes = []
    for hours, rows in enumerate([[event(1)], [event(1), event(2)]]):
        bucket.put(key(DAY, "a"), rows, hours=hours)
        sizes.append((bucket.directory / key(DAY, "a")).stat().st_size)
        load(engine, bucket)
    with engine.begin() as connection:
        record_audit_read(connection, TWAP_STATUS, list(LocalDirectory(bucket.directory).list_objects()))
        requeue(connection, [key(DAY, "a")], "because")

    state = status(engine)

    assert (state.attempts, state.bytes_fetched, state.bytes_loaded) == (2, sum(sizes), 0)


def test_orders_partition_counts_orders_by_start_date(engine: Engine, bucket: Bucket) -> None:
    finished = {**event(1, status="finished", minute=30, executed="4"), "state_executedNtl": "0.1"}
    bucket.put(key(DAY, "a"), [event(1), event(2), event(3)])
    bucket.put(key(NEXT_DAY, "b"), [finished, event(4)], hours=24)
    load(engine, bucket)
    with engine.begin() as connection:
        for day in (DAY, NEXT_DAY):
            refresh_orders(connection, day)

        states = [orders_partition(connection, day) for day in (DAY, NEXT_DAY, DAY - timedelta(days=1))]

    assert states == [
        OrdersPartition({"activated": 3, "finished": 1}, 3, 1, Decimal("0.1")),
        OrdersPartition({}, 0, 0, Decimal()),
        OrdersPartition({}, 0, 0, Decimal()),
    ]
