"""The data checks: each passes on valid tables, and fails on tables that violate it."""

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

BY_NAME = {check.name: check for check in (*CHECKS, *FILLS_CHECKS)}
VIOLATIONS: dict[str, str] = {
    "no_parked_objects": "UPDATE etl_s3_ingest_log SET error_text = 'bad', failed_attempts = 3",
    "row_count_matches_ingest_log": "DELETE FROM twap_status WHERE twap_id = '1' AND status = 'activated'",
    "event_times_in_range": "UPDATE twap_status SET ts = '1970-01-21' WHERE twap_id = '1' AND status = 'activated'",
    "terminal_event_rate": "INSERT INTO twap_status (twap_id, wallet, ts, status, s3_object_key)"
    " SELECT n, 'w', '2025-08-01', 'activated', 'x' FROM generate_series(100, 110) AS n",
    "daily_row_count_anomaly": "INSERT INTO etl_s3_ingest_log"
    " (s3_object_key, last_modified, ingested_at, object_date, rows_read) SELECT d, now(), now(),"
    " '2025-08-01'::date + d, CASE WHEN d = 3 THEN 900 ELSE 5000 END FROM generate_series(1, 9) AS d",
    "executed_size_lte_requested": "UPDATE twap_status SET size_executed = size_requested + 1"
    " WHERE status = 'finished'",
    "no_execution_before_terminal_event": "UPDATE twap_status SET size_executed = 1 WHERE status = 'activated'",
    "no_unknown_statuses": "UPDATE twap_status SET status = 'paused' WHERE status = 'finished'",
    "no_quarantined_rows": "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)"
    " VALUES ('a.parquet', 0, '{}', 'because')",
    "no_parked_fill_objects": "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, last_modified, ingested_at,"
    " error_text, failed_attempts) VALUES ('twap_fills', 'a.parquet', now(), now(), 'bad', 3)",
    "fill_count_matches_ingest_log": "INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, side, price, size,"
    " s3_object_key, s3_last_modified) VALUES ('1', 'w', '1', now(), 'BTC', 'B', 1, 1, 'a.parquet', now())",
    "fill_times_in_range": "INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, side, price, size,"
    " s3_object_key, s3_last_modified) VALUES ('1', 'w', '1', '1970-01-21', 'BTC', 'B', 1, 1, 'a.parquet', now())",
    "no_quarantined_fills": "INSERT INTO twap_fills_quarantine (s3_object_key, row_number, raw_row, reason)"
    " VALUES ('a.parquet', 0, '{}', 'because')",
    "fills_reconcile_with_orders": "INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, side, price, size,"
    " s3_object_key, s3_last_modified) VALUES ('1', 'w', '99', now(), 'BTC', 'B', 1, 1, 'a.parquet', now())",
    "orders_match_events": "UPDATE twap_orders SET size_executed = 7 WHERE twap_id = '2'",
}


@pytest.fixture
def valid_tables(engine: Engine, bucket: Bucket) -> Engine:
    """Tables with two finished orders."""
    lifecycle = (("activated", 0), ("finished", 30))
    rows = [event(twap_id, status=status, minute=minute) for twap_id in (1, 2) for status, minute in lifecycle]
    bucket.put(f"{DAY:%Y/%m/%d}/a.parquet", rows)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    with engine.begin() as connection:
        refresh_orders(connection, DAY)
    return engine


@pytest.mark.parametrize("name", BY_NAME)
def test_check_fails_only_on_violating_tables(valid_tables: Engine, name: str) -> None:
    check = BY_NAME[name]
    ((_, valid),) = run_checks(valid_tables, [check], is_full=True)
    with valid_tables.begin() as connection:
        connection.execute(text(VIOLATIONS[name]))

    ((_, violated),) = run_checks(valid_tables, [check], is_full=True)

    assert valid.count == 0
    assert violated.count > 0


def test_checks_with_error_severity() -> None:
    assert {name for name, check in BY_NAME.items() if check.is_error} == {
        "no_parked_objects",
        "row_count_matches_ingest_log",
        "event_times_in_range",
        "no_parked_fill_objects",
        "fill_count_matches_ingest_log",
        "fill_times_in_range",
        "orders_match_events",
    }
