"""Each asset check passes on valid tables and fails on tables that violate it."""

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.event_log import BACKFILL_ID_TAG
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event

_SOURCE_CHECKS = ("ingest_log_matches_source", "fills_log_matches_source")
CHECK_NAMES = [*(check.name for check in (*CHECKS, *FILLS_CHECKS)), *_SOURCE_CHECKS, "schema_at_head"]

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
    "fills_log_matches_source": "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, etag, last_modified,"
    " ingested_at, object_date, rows_inserted) VALUES ('twap_fills', 'a.parquet', 'e', now(), now(), '2026-03-01', 5)",
    "orders_match_events": "UPDATE twap_orders SET size_executed = 7 WHERE twap_id = '2'",
    "ingest_log_matches_source": "UPDATE etl_s3_ingest_log SET etag = 'another'",
    "schema_at_head": "DROP INDEX twap_status_asset_idx",
}


@pytest.fixture
def valid_tables(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Tables with two finished orders, loaded from the bucket."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    (bucket.directory.parent / "fills").mkdir()
    monkeypatch.setenv("TWAP_FILLS_URL", bucket.directory.parent.as_uri() + "/fills/")
    rows = [event(twap_id, status=status, minute=minute) for twap_id in (1, 2) for status, minute in _LIFECYCLE]
    bucket.put(f"{DAY:%Y/%m/%d}/a.parquet", rows)
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, store.list_objects(), bucket.day)
    with engine.begin() as connection:
        refresh_orders(connection, bucket.day)
    return engine


_LIFECYCLE = (("activated", 0), ("finished", 30))


def evaluate(**tags: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run every check in one run with these tags and return the evaluation per check name."""
    definitions = build_definitions(load_settings())
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*(definitions.asset_checks or [])],
            instance=instance,
            selection=dg.AssetSelection.all_asset_checks(),
            resources=dict(definitions.resources or {}),
            tags=tags,
        )
        return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_checks_on_valid_tables_pass(valid_tables: Engine) -> None:
    assert {name: evaluation.passed for name, evaluation in evaluate().items()} == dict.fromkeys(CHECK_NAMES, True)


def test_backfill_run_skips_checks_that_read_whole_tables(valid_tables: Engine) -> None:
    assert list(evaluate(**{BACKFILL_ID_TAG: "abcdefgh"})) == ["schema_at_head"]


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_check_on_violating_tables_fails(valid_tables: Engine, name: str) -> None:
    with valid_tables.begin() as connection:
        connection.execute(text(VIOLATIONS[name]))

    assert not evaluate()[name].passed


def test_full_job_detects_rows_that_were_edited_by_hand(valid_tables: Engine) -> None:
    definitions = build_definitions(load_settings())
    evaluate()
    with valid_tables.begin() as connection:
        connection.execute(text(VIOLATIONS["orders_match_events"]))
    assert evaluate()["orders_match_events"].passed

    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(FULL_CHECK_JOB).execute_in_process(instance=instance)
        messages = [entry.message for entry in instance.all_logs(result.run_id)]

    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    assert [evaluation.check_name for evaluation in failed] == ["orders_match_events"]
    assert failed[0].metadata["evaluated_dates"].value == 2
    assert len([line for line in messages if line.startswith("full evaluation of ")]) == 3


def test_table_checks_behind_the_head_fail_with_advice(valid_tables: Engine) -> None:
    with valid_tables.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '003'"))
    definitions = build_definitions(load_settings())

    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(CHECK_JOB).execute_in_process(instance=instance, raise_on_error=False)

    failures = {event.step_key: event.step_failure_data for event in result.all_events if event.is_step_failure}
    failure = failures["twap_status_table_checks"].user_failure_data
    assert failure is not None
    assert str(failure.description).startswith("the database is at 003, this code needs ")
    assert not next(
        evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "schema_at_head"
    )


def test_checks_with_error_severity() -> None:
    assert {check.name for check in (*CHECKS, *FILLS_CHECKS) if check.is_error} == {
        "no_parked_objects",
        "row_count_matches_ingest_log",
        "event_times_in_range",
        "no_parked_fill_objects",
        "fill_count_matches_ingest_log",
        "fill_times_in_range",
        "orders_match_events",
    }


def test_failed_check_reports_violations_as_metadata(valid_tables: Engine) -> None:
    with valid_tables.begin() as connection:
        connection.execute(text(VIOLATIONS["executed_size_lte_requested"]))

    evaluation = evaluate()["executed_size_lte_requested"]

    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.metadata["violations"].value == 2
    examples: Any = evaluation.metadata["examples"].value
    assert [column.name for column in examples.schema.columns][:2] == ["object_date", "twap_id"]
    assert len(examples.records) == 2
