"""The data sets do not mix: fills in an object with the key of an object of statuses change no report on statuses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, text

from twap_pipeline.api.queries import v1
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage import ingest_attempts, ingest_log
from twap_pipeline.storage.audit.data_check_runs import CheckResult, run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS
from twap_pipeline.storage.orders.refresh import compare_orders, dates_pending_refresh, refresh_orders
from twap_pipeline.storage.reports import ingest_summary, pipeline_state
from twap_pipeline.storage.reports.partition_state import fills_partition, status_partition
from twap_pipeline_tests.factories import DAY, NOON, WALLET, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame

KEY = "date=2025-08-20/part.parquet"
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
ATTEMPT = ObjectRef(KEY, "e", NOON, 1)


def _pending_orders(connection: Connection) -> object:
    compare_orders(connection)
    return connection.execute(text("SELECT * FROM differing_orders")).all()


REPORTS: dict[str, Callable[[Connection], object]] = {
    "ingest log": ingest_log.read_ingest_log,
    "ingest log of keys": lambda connection: ingest_log.read_ingest_log(connection, [KEY]),
    "other source": lambda connection: ingest_log.find_other_source(connection, "s3://other/"),
    "attempts": lambda connection: ingest_attempts.find_attempts(connection, TWAP_STATUS, [ATTEMPT]),
    "pipeline state": pipeline_state.read_pipeline_state,
    "missing days": lambda connection: pipeline_state.missing_days(connection, DAY, DAY + timedelta(days=2)),
    "attempt totals": lambda connection: pipeline_state.attempt_totals(connection, SINCE),
    "loaded objects": pipeline_state.loaded_objects,
    "day reports": partial(ingest_summary.day_reports, data_set=TWAP_STATUS),
    "failed objects": partial(ingest_summary.failed_objects, run_ids=["run"], data_set=TWAP_STATUS),
    "partition": lambda connection: status_partition(connection, DAY),
    "last ingested": lambda connection: connection.execute(v1.last_ingested()).all(),
    "pending refreshes": dates_pending_refresh,
    "pending orders": _pending_orders,
    "audit": lambda connection: audit(connection.engine, [], DAY),
}


def read_reports(engine: Engine) -> dict[str, object]:
    results: dict[str, object] = {}
    for name, report in REPORTS.items():
        with engine.connect() as connection:
            results[name] = report(connection)
    for check, result in run_checks(engine, CHECKS, is_full=True):
        results[check.name] = (result.count, result.examples)
    return results


def load_fills(engine: Engine, bucket: Bucket, *rows: dict[str, object], hours: float = 0) -> None:
    bucket.put_frame(KEY, fill_frame(*rows), hours=hours)
    store = LocalDirectory(bucket.directory)
    (ref,) = store.list_objects()
    ingest_object(store, engine, ref, DAY + timedelta(days=1), run_id="run", data_set=TWAP_FILLS)


def check_fills(engine: Engine) -> dict[str, CheckResult]:
    return {check.name: result for check, result in run_checks(engine, FILLS_CHECKS)}


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Bucket:
    """An order with both events is loaded as statuses, under `KEY`."""
    bucket.put(KEY, [event(1), event(1, status="finished", minute=30, executed="2")])
    store = LocalDirectory(bucket.directory)
    (ref,) = store.list_objects()
    ingest_object(store, engine, ref, DAY)
    return bucket


def test_fills_with_the_same_key_change_no_report(engine: Engine, loaded: Bucket) -> None:
    before = read_reports(engine)

    load_fills(engine, loaded, fill(1), fill(2), fill(3, size="0"))
    load_fills(engine, loaded, fill(1), fill(2, size="5"), hours=1)
    loaded.directory.joinpath(KEY).write_bytes(b"not parquet")
    (ref,) = LocalDirectory(loaded.directory).list_objects()
    for _ in range(3):
        ingest_object(LocalDirectory(loaded.directory), engine, ref, DAY, run_id="run", data_set=TWAP_FILLS)
    with engine.begin() as connection:
        ingest_log.record_audit_read(connection, TWAP_FILLS, [ref])
        ingest_attempts.begin_attempts(connection, TWAP_FILLS, [ATTEMPT])

    assert read_reports(engine) == before
    with engine.begin() as connection:
        assert ingest_log.reset_attempts(connection) == []
        ingest_attempts.remove_attempts(connection, TWAP_STATUS, [KEY])
        assert ingest_attempts.find_attempts(connection, TWAP_FILLS, [ATTEMPT]) == {KEY: False}
        assert ingest_log.reset_attempts(connection, data_set=TWAP_FILLS) == [KEY]
        refresh_orders(connection, DAY)
        marked = connection.execute(
            text("SELECT data_set FROM etl_s3_ingest_log WHERE orders_refreshed_at IS NOT NULL")
        )
        assert marked.scalars().all() == ["twap_status"]


def test_bytes_read_today_are_those_of_all_data_sets(engine: Engine, loaded: Bucket) -> None:
    with engine.connect() as connection:
        before = ingest_log.bytes_read_today(connection)
    load_fills(engine, loaded, fill(1))
    size = loaded.directory.joinpath(KEY).stat().st_size

    with engine.connect() as connection:
        assert ingest_log.bytes_read_today(connection) == before + size


def test_partition_of_fills_counts_objects_and_fills(engine: Engine, loaded: Bucket) -> None:
    other = "0x" + "1" * 40
    load_fills(engine, loaded, fill(1, size="2"), fill(2, address=other), fill(3, twap_id=None), fill(4, size="0"))

    with engine.connect() as connection:
        day = fills_partition(connection, DAY + timedelta(days=1))
        other_day = fills_partition(connection, DAY)

    assert (day.objects_loaded, day.objects_failed, day.attempts) == (1, 0, 1)
    assert day.row_counts == RowCounts(inserted=2, quarantined=1, metadata=1)
    assert (day.rows, day.fills_by_market, day.notional) == (2, {"hyperliquid": 2}, Decimal(150))
    assert (other_day.objects_loaded, other_day.rows, other_day.notional) == (0, 0, Decimal(0))


@pytest.mark.parametrize(
    ("sizes", "price", "state"),
    [
        (("0.5", "1.5"), "50", None),
        (("0.5",), "200", "missing_fills"),
        (("0.5", "1.5", "1"), "50", "surplus_fills"),
        (("0.5", "1.5"), "51", "different_notional"),
    ],
)
def test_check_states_how_fills_differ_from_the_order(
    engine: Engine, loaded: Bucket, sizes: tuple[str, ...], price: str, state: str | None
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET notional_executed = 100 WHERE status = 'finished'"))
        refresh_orders(connection, DAY)
    load_fills(engine, loaded, *(fill(number, size=size, price=price) for number, size in enumerate(sizes)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET object_date = :day"), {"day": DAY})

    result = check_fills(engine)["fills_reconcile_with_orders"]

    assert [example[:3] for example in result.examples] == ([("1", WALLET, state)] if state else [])


def test_checks_of_fills_report_bad_fills(engine: Engine, loaded: Bucket) -> None:
    assert [result.count for result in check_fills(engine).values()] == [0, 0, 0, 0, 0]
    load_fills(engine, loaded, fill(1), fill(2, size="0"), fill(3, twap_id=77))
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_fills SET ts = '2022-01-01' WHERE trade_id = '1'"))
        connection.execute(
            text("UPDATE etl_s3_ingest_log SET error_text = 'e', failed_attempts = 3 WHERE data_set = 'twap_fills'")
        )

    results = check_fills(engine)

    assert {name: result.count for name, result in results.items()} == {
        "fill_count_matches_ingest_log": 0,
        "no_quarantined_fills": 1,
        "no_parked_fill_objects": 1,
        "fill_times_in_range": 1,
        "fills_reconcile_with_orders": 2,
    }
