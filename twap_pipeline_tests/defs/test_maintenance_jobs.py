"""The maintenance jobs."""

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

KEY = f"{DAY:%Y/%m/%d}/a.parquet"


def run(
    instance: dg.DagsterInstance, name: str, partition: str | None = None, **config: object
) -> dg.ExecuteInProcessResult:
    job = load_definitions().resolve_job_def(name)
    ops = {"ops": {"run_audit": {"config": config}}} if config else None
    return job.execute_in_process(instance=instance, partition_key=partition, run_config=ops, raise_on_error=False)


def test_observe_job_records_partitions_with_objects(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(KEY, [event(1)])

    assert run(instance, "observe_twap_s3_objects").success

    (record,) = instance.fetch_materializations(AssetCatalog().key("twap_s3_objects"), limit=10).records
    assert record.partition_key == str(DAY)


def test_audit_job_fails_until_objects_are_ingested(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(KEY, [event(1)])
    before = run(instance, "audit_twap_status").success
    ingest_everything(LocalDirectory(bucket.directory), engine)

    after = run(instance, "audit_twap_status").success

    assert (before, after) == (False, True)


def test_deep_audit_finds_changed_value_and_requeue_repairs_it(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(KEY, [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET size_requested = 11"))

    shallow, deep = run(instance, "audit_twap_status"), run(instance, "audit_twap_status", deep=True)
    requeued = run(instance, "audit_twap_status", requeue=True)
    ingest_everything(LocalDirectory(bucket.directory), engine)

    assert [result.success for result in (shallow, deep, requeued)] == [True, False, False]
    assert run(instance, "audit_twap_status", deep=True).success
    with engine.connect() as connection:
        assert connection.execute(text("SELECT size_requested FROM twap_status")).scalar_one() == 10


@pytest.mark.fault("X1")
def test_deep_audit_over_budget_fails(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(KEY, [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "1")

    result = run(instance, "audit_twap_status", deep=True)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    user_failure = failure.step_failure_data.user_failure_data
    assert user_failure is not None
    assert "TWAP_MAX_BYTES_PER_RUN allows 1" in str(user_failure.description)


@pytest.mark.parametrize(
    ("name", "partition", "table", "task"),
    [
        ("audit_twap_status", None, "twap_status", "audit of the row counts"),
        ("refresh_twap_orders", str(DAY), "twap_orders", f"refresh of twap_orders for {DAY}"),
    ],
)
def test_job_over_statement_timeout_names_its_task(
    *,
    name: str,
    partition: str | None,
    table: str,
    task: str,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session locks the table, so that the statements of the job wait."""
    bucket.put(KEY, [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    monkeypatch.setenv("TWAP_MAINTENANCE_TIMEOUT_SECONDS", "0.5")
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {table}"))
        result = run(instance, name, partition)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    user_failure = failure.step_failure_data.user_failure_data
    description = user_failure.description if user_failure else ""
    assert f"{task}: PostgreSQL cancelled a statement" in f"{description} {failure.step_failure_data.error}"


def test_retry_job_resets_failed_attempts_of_parked_objects(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    path = bucket.directory / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not parquet")
    for _ in range(3):
        ingest_everything(LocalDirectory(bucket.directory), engine)

    assert run(instance, "retry_parked_objects").success

    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 0
