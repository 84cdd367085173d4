"""The refresh of ``twap_orders``, compared with an implementation in Python."""

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
from sqlalchemy import Connection, Engine, RowMapping, text
from sqlalchemy.event import listens_for

from twap_pipeline.domain.order_columns import DAILY_STATS_COLUMNS, ORDER_COLUMNS
from twap_pipeline.domain.status import STATUS_RANK, TERMINAL_STATUSES, UNKNOWN_STATUS_RANK
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import RefreshResult, dates_pending_refresh, refresh_orders
from twap_pipeline.storage.reports.daily_orders import daily_figures
from twap_pipeline.storage.schema.models import twap_daily_stats, twap_orders
from twap_pipeline_tests.factories import DAY, NOON, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import differing_orders
from twap_pipeline_tests.storage.statistics import set_empty_statistics

NEXT_DAY = DAY + timedelta(days=1)


def ingest(engine: Engine, bucket: Bucket, *keys: str, day: date = DAY) -> None:
    """Load these objects, or all, as objects of a day."""
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if not keys or ref.key in keys], day)


def refresh(engine: Engine, day: date = DAY, *, recompute: bool = False) -> RefreshResult:
    with engine.begin() as connection:
        return refresh_orders(connection, day, recompute=recompute)


def rows(engine: Engine, table: str) -> list[RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table}")).mappings())


def order(engine: Engine, twap_id: int = 1) -> RowMapping:
    (row,) = [row for row in rows(engine, "twap_orders") if row["twap_id"] == str(twap_id)]
    return row


def pending(engine: Engine) -> list[date]:
    with engine.connect() as connection:
        return list(dates_pending_refresh(connection))


def differences(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return differing_orders(connection)


def expected(events: Sequence[RowMapping]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the orders of these events."""
    events_by_order: dict[tuple[str, str], list[RowMapping]] = defaultdict(list)
    for row in events:
        events_by_order[row["twap_id"], row["wallet"]].append(row)
    return {key: _expected(sorted(history, key=lambda row: row["ts"])) for key, history in events_by_order.items()}


def _expected(history: list[RowMapping]) -> dict[str, Any]:
    last = max(history, key=lambda row: (STATUS_RANK.get(row["status"], UNKNOWN_STATUS_RANK), row["ts"]))
    starts = [row["started_at"] for row in history if row["started_at"]]
    activations = [row["ts"] for row in history if row["status"] == "activated"]
    started_at = min(starts or activations, default=None)
    ended = last["status"] in TERMINAL_STATUSES
    return {
        **{name: last[name] for name in ("asset", "side", "size_requested", "size_executed", "notional_executed")},
        **{name: last[name] for name in ("status", "status_error", "duration_minutes", "reduce_only", "randomize")},
        "last_status_at": last["ts"],
        "ended_at": last["ts"] if ended else None,
        "started_at": started_at,
        "start_date": (started_at or history[0]["ts"]).date(),
        "is_underfilled": ended and last["size_executed"] < last["size_requested"],
        "event_count": len(history),
        "first_event_at": history[0]["ts"],
        "first_object_key": history[0]["s3_object_key"],
        "last_object_key": history[-1]["s3_object_key"],
    }


def stored(engine: Engine) -> dict[tuple[str, str], dict[str, Any]]:
    left_out = {"twap_id", "wallet", "average_price", "refreshed_at"}
    return {
        (row["twap_id"], row["wallet"]): {name: value for name, value in row.items() if name not in left_out}
        for row in rows(engine, "twap_orders")
    }


@pytest.mark.unit
def test_every_order_column_has_a_description() -> None:
    assert list(ORDER_COLUMNS) == list(twap_orders.columns.keys())
    assert list(DAILY_STATS_COLUMNS) == list(twap_daily_stats.columns.keys())


def test_ended_order_has_values_of_terminal_event(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30, executed="4.5")])
    ingest(engine, bucket)

    assert refresh(engine) == RefreshResult(objects=1, inserted=1, updated=0)

    row = order(engine)
    assert (row["status"], row["size_executed"]) == ("finished", Decimal("4.5"))
    assert row["is_underfilled"]
    assert row["ended_at"] - row["first_event_at"] == timedelta(minutes=30)
    assert (row["started_at"], row["start_date"], row["event_count"]) == (NOON, DAY, 2)


def test_active_order_has_no_end_and_no_price(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    refresh(engine)

    row = order(engine)

    assert (row["ended_at"], row["average_price"], row["is_underfilled"]) == (None, None, False)


def test_average_price_is_notional_divided_by_size(engine: Engine, bucket: Bucket) -> None:
    rows = [{**event(1, status="finished", executed="4"), "state_executedNtl": "10"}, event(2, status="error")]
    bucket.put("a.parquet", rows)
    ingest(engine, bucket)
    refresh(engine)

    assert [order(engine, twap_id)["average_price"] for twap_id in (1, 2)] == [Decimal("2.5"), None]


def test_late_event_of_older_object_is_included(engine: Engine, bucket: Bucket) -> None:
    bucket.put("b.parquet", [event(1, status="finished", minute=30, executed="10")])
    ingest(engine, bucket)
    refresh(engine)
    bucket.put("a.parquet", [event(1)], hours=-5)
    ingest(engine, bucket)

    assert refresh(engine) == RefreshResult(objects=1, inserted=0, updated=1)

    row = order(engine)
    assert (row["status"], row["event_count"], row["first_object_key"]) == ("finished", 2, "a.parquet")


def test_refresh_without_new_events_writes_nothing(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    ingest(engine, bucket)
    refresh(engine)
    before = rows(engine, "twap_orders")

    assert refresh(engine) == RefreshResult(objects=0, inserted=0, updated=0)
    assert refresh(engine, recompute=True) == RefreshResult(objects=1, inserted=0, updated=0)
    assert rows(engine, "twap_orders") == before


def test_recomputation_repairs_orders_from_all_events(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2)])
    ingest(engine, bucket)
    bucket.put("b.parquet", [event(1, status="finished", minute=30, executed="10")])
    ingest(engine, bucket, "b.parquet", day=NEXT_DAY)
    for day in (DAY, NEXT_DAY):
        refresh(engine, day)
    before = stored(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_orders WHERE twap_id = '1'"))
        connection.execute(text("UPDATE twap_orders SET event_count = 9"))

    assert refresh(engine, recompute=True) == RefreshResult(objects=1, inserted=1, updated=1)

    assert stored(engine) == before


def test_new_order_of_several_days_has_all_events(engine: Engine, bucket: Bucket) -> None:
    """The later day is refreshed first, without the event of the earlier day, which is pending."""
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    bucket.put("b.parquet", [event(1, status="finished", minute=30, executed="10")])
    ingest(engine, bucket, "b.parquet", day=NEXT_DAY)

    assert refresh(engine, NEXT_DAY) == RefreshResult(objects=1, inserted=1, updated=0)
    assert (order(engine)["event_count"], pending(engine)) == (1, [DAY])
    assert refresh(engine) == RefreshResult(objects=1, inserted=0, updated=1)

    assert (order(engine)["event_count"], order(engine)["status"], differences(engine)) == (2, "finished", [])


def test_refresh_of_date_without_objects_does_nothing(engine: Engine) -> None:
    assert refresh(engine) == RefreshResult(objects=0, inserted=0, updated=0)


def test_date_is_pending_from_load_to_refresh(engine: Engine, bucket: Bucket) -> None:
    assert pending(engine) == []
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    assert pending(engine) == [DAY]
    refresh(engine)
    assert pending(engine) == []
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    ingest(engine, bucket)

    assert pending(engine) == [DAY]


def test_date_stays_pending_after_failed_later_version(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest(engine, bucket)
    (bucket.directory / "a.parquet").write_bytes(b"poison")
    ingest(engine, bucket)

    assert pending(engine) == [DAY]
    refresh(engine)

    assert (pending(engine), order(engine)["event_count"]) == ([], 1)


def test_object_that_never_loaded_is_not_pending(engine: Engine, bucket: Bucket) -> None:
    (bucket.directory / "a.parquet").write_bytes(b"poison")
    ingest(engine, bucket)

    assert pending(engine) == []


@pytest.mark.fault("W5")
def test_concurrent_refreshes_are_serialized(engine: Engine, bucket: Bucket) -> None:
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

    assert (order(engine)["status"], pending(engine), differences(engine)) == ("finished", [], [])


def test_object_reloaded_during_refresh_stays_pending(engine: Engine, bucket: Bucket) -> None:
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

    assert (pending(engine), differences(engine)) == ([DAY], [("2", "missing")])
    refresh(engine)
    assert (pending(engine), differences(engine)) == ([], [])


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("UPDATE twap_orders SET size_executed = 7", "differs"),
        ("UPDATE twap_orders SET event_count = 9", "differs"),
        ("UPDATE twap_orders SET size_executed = size_executed::text::numeric * 1.0", "differs"),
        ("DELETE FROM twap_orders", "missing"),
        ("DELETE FROM twap_status", "without events"),
    ],
)
def test_differing_orders_are_found(engine: Engine, bucket: Bucket, tampering: str, fault: str) -> None:
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
        status=st.sampled_from([*STATUS_RANK, "error: no margin", "paused"]),
        minute=st.integers(0, 4),
        executed=st.sampled_from(["0.0", "4.5", "10"]),
    ),
    min_size=1,
    max_size=6,
)


@examples(25)
@given(objects=st.lists(_EVENTS, min_size=1, max_size=4), data=st.data())
def test_orders_are_a_pure_function_of_events(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    objects: list[list[dict[str, object]]],
    data: st.DataObject,
) -> None:
    """Deadlines are off: an example loads objects into PostgreSQL."""
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine, twap_orders")
        )
    bucket = Bucket(Path(tmp_path_factory.mktemp("bucket")))
    keys = [f"{number}.parquet" for number in range(len(objects))]
    for number, (key, events) in enumerate(zip(keys, objects, strict=True)):
        bucket.put(key, events, hours=number)
    days = st.sampled_from([DAY, NEXT_DAY])
    for key in data.draw(st.permutations(keys)):
        ingest(engine, bucket, key, day=data.draw(days))
        if data.draw(st.booleans()):
            refresh(engine, data.draw(days), recompute=data.draw(st.booleans()))
    for day in data.draw(st.permutations([DAY, NEXT_DAY])):
        refresh(engine, day)

    assert stored(engine) == expected(rows(engine, "twap_status"))
    assert (differences(engine), pending(engine)) == ([], [])


def test_daily_stats_count_orders_by_start_date(engine: Engine, bucket: Bucket) -> None:
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
        "order_count": 2,
        "wallet_count": 1,
        "underfilled_order_count": 1,
        "size_requested": 20,
        "size_executed": 14,
        "notional_executed": 0,
    }
    assert (figures[DAY].order_count, figures[DAY].by_status) == (3, {"finished": 2, "activated": 1})
    assert figures[date(2025, 1, 1)].order_count == 0


def test_order_timestamps_are_those_of_events(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [{**event(1), "state_timestamp": 0}, event(2)])
    ingest(engine, bucket)
    refresh(engine)

    created_unknown, created_known = order(engine, 1), order(engine, 2)

    at = datetime.fromisoformat("2025-08-20T12:00:00.123456+00:00")
    assert (created_unknown["started_at"], created_unknown["last_status_at"]) == (at, at)
    assert (created_known["started_at"], created_known["last_status_at"]) == (NOON, at)


def test_refresh_with_stale_statistics_ends(engine: Engine, bucket: Bucket) -> None:
    """A load that autovacuum analyzed before its commit leaves reltuples = 0; plans must not become quadratic."""
    bucket.put("a.parquet", [event(twap_id, minute=minute) for twap_id in range(10_000) for minute in (0, 1)])
    ingest(engine, bucket)
    set_empty_statistics(engine)

    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '5s'"))
        result = refresh_orders(connection, DAY)
        assert result.inserted == 10_000
        assert differing_orders(connection) == []


@pytest.mark.parametrize("recompute", [False, True])
def test_refresh_reads_no_row_of_other_days(engine: Engine, bucket: Bucket, recompute: bool) -> None:
    """The statistics are those of empty tables, and the objects of other days contain 500 times as many events."""
    bucket.put("a.parquet", [event(twap_id) for twap_id in range(5_000)])
    ingest(engine, bucket)
    refresh(engine)
    for name in ("b.parquet", "c.parquet"):
        bucket.put(name, [event(twap_id, minute=1) for twap_id in range(4_995, 5_005)])
    ingest(engine, bucket, "b.parquet", "c.parquet", day=NEXT_DAY)
    set_empty_statistics(engine)

    with engine.begin() as connection:
        before = rows_read(connection)
        refresh_orders(connection, NEXT_DAY, recompute=recompute)
        refresh_rows = rows_read(connection) - before

    assert refresh_rows < 200


def rows_read(connection: Connection) -> int:
    """Return the rows of orders and events that the transaction read so far."""
    statement = """SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables
      WHERE relname IN ('twap_status', 'twap_orders')"""
    return int(connection.execute(text(statement)).scalar_one())
