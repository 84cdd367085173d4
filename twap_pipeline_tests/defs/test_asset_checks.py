"""The asset checks in Dagster: what an evaluation contains, and which runs skip it or evaluate every day."""

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.defs.event_log import BACKFILL_ID_TAG
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.factories import DAY, Bucket, event

_SOURCE_CHECKS = ("ingest_log_matches_source", "fills_log_matches_source")
CHECK_NAMES = [*(check.name for check in (*CHECKS, *FILLS_CHECKS)), *_SOURCE_CHECKS, "schema_at_head"]

VIOLATIONS: dict[str, str] = {
    "executed_size_lte_requested": "UPDATE twap_status SET size_executed = size_requested + 1"
    " WHERE status = 'finished'",
    "no_parked_fill_objects": "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, last_modified, ingested_at,"
    " error_text, failed_attempts) VALUES ('twap_fills', 'a.parquet', now(), now(), 'bad', 3)",
    "orders_match_events": "UPDATE twap_orders SET size_executed = 7 WHERE twap_id = '2'",
    "fills_log_matches_source": "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, etag, last_modified,"
    " ingested_at, object_date, rows_inserted) VALUES ('twap_fills', 'b.parquet', 'e', now(), now(), '2026-03-01', 5)",
    "ingest_log_matches_source": "UPDATE etl_s3_ingest_log SET etag = 'another' WHERE data_set = 'twap_status'",
    "schema_at_head": "DROP INDEX twap_status_asset_idx",
}
"""Check → a change that it finds: one of each op of checks. `storage.test_data_checks` tests each data check."""


@pytest.fixture
def valid_tables(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Tables with two finished orders, loaded from the bucket."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    (bucket.directory.parent / "fills").mkdir()
    monkeypatch.setenv("TWAP_FILLS_URL", bucket.directory.parent.as_uri() + "/fills/")
    lifecycle = (("activated", 0), ("finished", 30))
    rows = [event(twap_id, status=status, minute=minute) for twap_id in (1, 2) for status, minute in lifecycle]
    bucket.put(f"{DAY:%Y/%m/%d}/a.parquet", rows)
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, store.list_objects(), bucket.day)
    with engine.begin() as connection:
        refresh_orders(connection, bucket.day)
    return engine


def evaluate(**tags: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run every check in one run with these tags and return the evaluation per check name."""
    definitions = load_definitions()
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


def test_checks_on_violating_tables_fail_with_metadata(valid_tables: Engine) -> None:
    with valid_tables.begin() as connection:
        for statement in VIOLATIONS.values():
            connection.execute(text(statement))

    evaluations = evaluate()

    side_effects = {"fill_count_matches_ingest_log"}
    assert {name for name, evaluation in evaluations.items() if not evaluation.passed} - side_effects == {*VIOLATIONS}
    assert evaluations["no_parked_fill_objects"].severity == dg.AssetCheckSeverity.ERROR
    sizes = evaluations["executed_size_lte_requested"]
    assert (sizes.severity, sizes.metadata["violations"].value) == (dg.AssetCheckSeverity.WARN, 2)
    examples: Any = sizes.metadata["examples"].value
    assert [column.name for column in examples.schema.columns][:2] == ["object_date", "twap_id"]
    assert len(examples.records) == 2


def test_full_job_detects_rows_that_were_edited_by_hand(valid_tables: Engine) -> None:
    """Other runs do not evaluate unchanged days: see `storage.test_data_check_runs`."""
    list(run_checks(valid_tables, CHECKS))
    with valid_tables.begin() as connection:
        connection.execute(text(VIOLATIONS["orders_match_events"]))
    job = load_definitions().resolve_job_def(FULL_CHECK_JOB)

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        messages = [entry.message for entry in instance.all_logs(result.run_id)]

    failed = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    assert [evaluation.check_name for evaluation in failed] == ["orders_match_events"]
    assert failed[0].metadata["evaluated_dates"].value == 2
    assert len([line for line in messages if line.startswith("full evaluation of ")]) == 3


def test_table_checks_behind_the_head_fail_with_advice(valid_tables: Engine) -> None:
    with valid_tables.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '003'"))
    job = load_definitions().resolve_job_def(CHECK_JOB)

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)

    failures = {event.step_key: event.step_failure_data for event in result.all_events if event.is_step_failure}
    failure = failures["twap_status_table_checks"].user_failure_data
    assert failure is not None
    assert str(failure.description).startswith("the database is at 003, this code needs ")
    assert not next(
        evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "schema_at_head"
    )
