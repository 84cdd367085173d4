"""One row per order, whatever the order of arrival; held against an oracle in Python that knows no SQL."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, RowMapping, text
from sqlalchemy.event import listens_for

from twap_pipeline.domain.orders import DAILY_STATS_COLUMNS, ORDER_COLUMNS
from twap_pipeline.domain.status import STATUS_RANK, TERMINAL_STATUSES, UNKNOWN_STATUS_RANK
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import DIFFERENCES, RefreshResult, dates_pending_refresh, refresh_orders
from twap_pipeline.storage.reports.daily_orders import daily_figures
from twap_pipeline.storage.schema.models import twap_daily_stats, twap_orders
from twap_pipeline_tests.factories import DAY, NOON, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples


def ingest(engine: Engine, bucket: Bucket, *keys: str) -> None:
    """Take these objects, or all."""
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if not keys or ref.key in keys], bucket.day)


def refresh(engine: Engine, day: date = DAY) -> RefreshResult:
    with engine.begin() as connection:
        return refresh_orders(connection, day)


def rows(engine: Engine, table: str) -> list[RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table}")).mappings())


def order(engine: Engine, twap_id: int = 1) -> RowMapping:
    (found,) = [row for row in rows(engine, "twap_orders") if row["twap_id"] == str(twap_id)]
    return found


def due(engine: Engine) -> list[date]:
    with engine.connect() as connection:
        return list(dates_pending_refresh(connection))


def differences(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(twap_id, fault) for twap_id, _, fault in connection.execute(text(DIFFERENCES))]


def expected(events: Sequence[RowMapping]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the orders that these events make, computed one by one."""
    lives: dict[tuple[str, str], list[RowMapping]] = defaultdict(list)
    for one in events:
        lives[one["twap_id"], one["wallet"]].append(one)
    return {key: _expected(sorted(life, key=lambda one: one["ts"])) for key, life in lives.items()}


def _expected(life: list[RowMapping]) -> dict[str, Any]:
    last = max(life, key=lambda one: (STATUS_RANK.get(one["status"], UNKNOWN_STATUS_RANK), one["ts"]))
    starts = [one["started_at"] for one in life if one["started_at"]]
    activations = [one["ts"] for one in life if one["status"] == "activated"]
    started_at = min(starts or activations, default=None)
    ended = last["status"] in TERMINAL_STATUSES
    return {
        **{name: last[name] for name in ("asset", "side", "size_requested", "size_executed", "notional_executed")},
        **{name: last[name] for name in ("status", "status_error", "duration_minutes", "reduce_only", "randomize")},
        "last_status_at": last["ts"],
        "ended_at": last["ts"] if ended else None,
        "started_at": started_at,
        "start_date": (started_at or life[0]["ts"]).date(),
        "is_underfilled": ended and last["size_executed"] < last["size_requested"],
        "event_count": len(life),
        "first_event_at": life[0]["ts"],
        "first_object_key": life[0]["s3_object_key"],
        "last_object_key": life[-1]["s3_object_key"],
    }


def stored(engine: Engine) -> dict[tuple[str, str], dict[str, Any]]:
    left_out = {"twap_id", "wallet", "fill_ratio", "average_price", "refreshed_at"}
    return {
        (row["twap_id"], row["wallet"]): {name: value for name, value in row.items() if name not in left_out}
        for row in rows(engine, "twap_orders")
    }


@pytest.mark.unit
def test_every_column_of_orders_and_figures_is_explained() -> None:
    assert list(ORDER_COLUMNS) == list(twap_orders.columns.keys())
    assert list(DAILY_STATS_COLUMNS) == list(twap_daily_stats.columns.keys())


def test_an_order_has_its_terminal_event_s_figures(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30, executed="4.5")])
    ingest(engine, bucket)

    assert refresh(engine) == RefreshResult(objects=1, inserted=1, updated=0)

    found = order(engine)
    assert (found["status"], found["size_executed"], found["fill_ratio"]) == (
        "finished",
        Decimal("4.5"),
        Decimal("0.45"),
    )
    assert found["is_underfilled"]
    assert found["ended_at"] - found["first_event_at"] == timedelta(minutes=30)
    assert (found["started_at"], found["start_date"], found["event_count"]) == (NOON, DAY, 2)


def test_a_running_order_has_no_end_no_price_and_is_not_under_filled(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    refresh(engine)

    found = order(engine)

    assert (found["ended_at"], found["average_price"], found["is_underfilled"]) == (None, None, False)


def test_the_average_price_is_notional_by_size_and_null_when_nothing_executed(engine: Engine, bucket: Bucket) -> None:
    rows = [{**event(1, status="finished", executed="4"), "state_executedNtl": "10"}, event(2, status="error")]
    bucket.put("a.parquet", rows)
    ingest(engine, bucket)
    refresh(engine)

    assert [order(engine, twap_id)["average_price"] for twap_id in (1, 2)] == [Decimal("2.5"), None]


def test_an_event_that_comes_late_in_an_older_object_is_taken_in(engine: Engine, bucket: Bucket) -> None:
    bucket.put("b.parquet", [event(1, status="finished", minute=30, executed="10")])
    ingest(engine, bucket)
    refresh(engine)
    bucket.put("a.parquet", [event(1)], hours=-5)
    ingest(engine, bucket)

    assert refresh(engine) == RefreshResult(objects=2, inserted=0, updated=1)

    found = order(engine)
    assert (found["status"], found["event_count"], found["first_object_key"]) == ("finished", 2, "a.parquet")


def test_a_refresh_with_nothing_new_writes_no_order(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    ingest(engine, bucket)
    refresh(engine)
    before = rows(engine, "twap_orders")

    assert refresh(engine) == RefreshResult(objects=1, inserted=0, updated=0)
    assert rows(engine, "twap_orders") == before


def test_a_refresh_of_a_day_without_objects_does_nothing(engine: Engine) -> None:
    assert refresh(engine) == RefreshResult(objects=0, inserted=0, updated=0)


def test_a_day_is_due_from_its_load_to_its_refresh_and_again_when_new_bytes_come(
    engine: Engine, bucket: Bucket
) -> None:
    assert due(engine) == []
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    assert due(engine) == [DAY]
    refresh(engine)
    assert due(engine) == []
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    ingest(engine, bucket)

    assert due(engine) == [DAY]


def test_a_day_stays_due_when_a_later_version_fails_before_the_refresh(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    (bucket.directory / "a.parquet").write_bytes(b"poison")
    ingest(engine, bucket)

    assert due(engine) == [DAY]
    refresh(engine)

    assert (due(engine), order(engine)["event_count"]) == ([], 1)


def test_an_object_that_never_loaded_is_not_waited_for(engine: Engine, bucket: Bucket) -> None:
    (bucket.directory / "a.parquet").write_bytes(b"poison")
    ingest(engine, bucket)

    assert due(engine) == []


@pytest.mark.fault("W5")
def test_of_two_refreshes_at_once_the_later_waits_and_sees_what_came_in_between(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    bucket.put("b.parquet", [event(1, status="finished", minute=30)])
    ingest(engine, bucket, "a.parquet")
    with engine.begin() as first:
        refresh_orders(first, DAY)
        ingest(engine, bucket, "b.parquet")
        second = threading.Thread(target=refresh, args=(engine,))
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join(30)

    assert (order(engine)["status"], due(engine), differences(engine)) == ("finished", [], [])


def test_an_object_loaded_anew_during_a_refresh_stays_due(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    with engine.connect() as refreshing:

        @listens_for(refreshing, "before_cursor_execute")
        def load_before_the_mark(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if statement.startswith("UPDATE etl_s3_ingest_log"):
                ingest(engine, bucket)

        refresh_orders(refreshing, DAY)
        refreshing.commit()

    assert (due(engine), differences(engine)) == ([DAY], [("2", "missing")])
    refresh(engine)
    assert (due(engine), differences(engine)) == ([], [])


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("UPDATE twap_orders SET size_executed = 7", "differs"),
        ("UPDATE twap_orders SET event_count = 9", "differs"),
        ("DELETE FROM twap_orders", "missing"),
        ("DELETE FROM twap_status", "without events"),
    ],
)
def test_what_differs_from_the_events_is_found(engine: Engine, bucket: Bucket, tampering: str, fault: str) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    refresh(engine)
    assert differences(engine) == []
    with engine.begin() as connection:
        connection.execute(text(tampering))

    assert differences(engine) == [("1", fault)]


_EVENTS = st.lists(
    st.builds(
        event,
        st.integers(1, 3),
        status=st.sampled_from(["activated", "finished", "terminated", "error: no margin", "paused"]),
        minute=st.integers(0, 4),
        executed=st.sampled_from(["0.0", "4.5", "10"]),
    ),
    min_size=1,
    max_size=6,
)


@examples(25)
@given(objects=st.lists(_EVENTS, min_size=1, max_size=4), data=st.data())
def test_orders_are_a_pure_function_of_the_events(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    objects: list[list[dict[str, object]]],
    data: st.DataObject,
) -> None:
    """Deadlines are off: an example loads objects into PostgreSQL."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE twap_status, etl_s3_ingest_log, twap_status_quarantine, twap_orders"))
    bucket = Bucket(Path(tmp_path_factory.mktemp("bucket")))
    keys = [f"{number}.parquet" for number in range(len(objects))]
    for number, (key, events) in enumerate(zip(keys, objects, strict=True)):
        bucket.put(key, events, hours=number)
    for key in data.draw(st.permutations(keys)):
        ingest(engine, bucket, key)
        if data.draw(st.booleans()):
            refresh(engine)
    refresh(engine)

    assert stored(engine) == expected(rows(engine, "twap_status"))
    assert (differences(engine), due(engine)) == ([], [])


def test_the_daily_figures_are_those_of_the_orders_that_started_that_day(engine: Engine, bucket: Bucket) -> None:
    bucket.put(
        "a.parquet",
        [
            event(1, status="finished", minute=30, executed="10"),
            event(2, status="finished", minute=30, executed="4"),
            event(3, asset="BTC"),
        ],
    )
    ingest(engine, bucket)
    refresh(engine)

    (hype,) = [row for row in rows(engine, "twap_daily_stats") if row["asset"] == "HYPE"]
    with engine.connect() as connection:
        figures = daily_figures(connection, [DAY, date(2025, 1, 1)])

    assert dict(hype) == {
        "day": DAY,
        "asset": "HYPE",
        "side": "B",
        "status": "finished",
        "orders": 2,
        "wallets": 1,
        "is_underfilled": 1,
        "size_requested": 20,
        "size_executed": 14,
        "notional_executed": 0,
    }
    assert (figures[DAY].order_count, figures[DAY].by_status) == (3, {"finished": 2, "activated": 1})
    assert figures[date(2025, 1, 1)].orders == 0


def test_times_of_orders_are_those_of_their_events(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [{**event(1), "state_timestamp": 0}, event(2)])
    ingest(engine, bucket)
    refresh(engine)

    created_unknown, created_known = order(engine, 1), order(engine, 2)

    at = datetime.fromisoformat("2025-08-20T12:00:00.123456+00:00")
    assert (created_unknown["started_at"], created_unknown["last_status_at"]) == (at, at)
    assert (created_known["started_at"], created_known["last_status_at"]) == (NOON, at)
