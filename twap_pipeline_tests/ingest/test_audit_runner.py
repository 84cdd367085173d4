"""The audit as commands and Dagster run it: report, budget and repair."""

import json
from datetime import date

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.errors import BudgetExceededError
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything


@pytest.fixture
def store(engine: Engine, bucket: Bucket) -> LocalDirectory:
    """A source with one loaded object of two events, one of which was edited."""
    bucket.put("a.parquet", [event(1), event(2)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET side = 'A' WHERE twap_id = '1'"))
    return store


def test_audit_without_deep_reads_no_object(engine: Engine, store: LocalDirectory) -> None:
    report = run_audit(store, engine, since=DAY, max_bytes_per_run=1)

    assert (report.findings, report.objects_read, report.has_errors) == ([], 0, False)
    assert report.as_json() == {"has_errors": False, "objects_read": 0, "findings": [], "repair": None}


def test_deep_audit_reports_edited_value(engine: Engine, store: LocalDirectory) -> None:
    read: list[str] = []

    report = run_audit(
        store, engine, since=DAY, deep=True, before_reading=lambda refs: read.extend(ref.key for ref in refs)
    )

    assert read == ["a.parquet"]
    assert (report.objects_read, report.has_errors, report.repair) == (1, True, None)
    assert [(finding.code, len(finding.examples)) for finding in report.findings] == [("rows_changed", 1)]


def test_requeue_report_is_json_serializable(engine: Engine, store: LocalDirectory) -> None:
    report = run_audit(store, engine, since=DAY, requeue=True)

    printed = json.loads(json.dumps(report.as_json()))
    assert [(finding["code"], finding["count"]) for finding in printed["findings"]] == [("rows_changed", 1)]
    assert "side" in printed["findings"][0]["examples"][0]
    assert printed["repair"] == {
        "requeued": ["a.parquet"],
        "deleted_rows": 1,
        "deleted_quarantined_rows": 0,
        "deleted_history_entries": 0,
        "recounted": [],
        "orders_written": 0,
        "orders_deleted": 0,
        "adjustment": -1,
        "adjusted_key": "a.parquet",
    }


def test_budget_refuses_deep_audit(engine: Engine, store: LocalDirectory) -> None:
    with pytest.raises(BudgetExceededError, match="nothing was read"):
        run_audit(store, engine, since=DAY, deep=True, max_bytes_per_run=1)


def test_object_before_start_date_is_not_read(engine: Engine, store: LocalDirectory) -> None:
    assert run_audit(store, engine, since=date(2030, 1, 1), deep=True).objects_read == 0
