"""The limits of the runs that ``new_twap_objects`` requests: per batch, per byte budget, and during an upgrade."""

from datetime import timedelta

import dagster as dg
import psycopg
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.defs import run_requests
from twap_pipeline.defs.uncounted_runs import REFUSED_TAG
from twap_pipeline.ingest import load
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.schema.revision_gate import compare_revisions
from twap_pipeline_tests.defs.sensor_ticks import (
    add_failed_run,
    add_runs,
    key,
    requested_partitions,
    run,
    run_all,
    skip_message,
    tick,
)
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure, retries_without_a_cap


def fail_loads(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every run fail when it starts to load objects."""

    def fail(*_: object, **__: object) -> None:
        raise error

    patch.setattr(load, "ingest_objects", fail)


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = :revision"), {"revision": revision})


@pytest.mark.fault("R3")
def test_failed_run_is_requested_again_with_new_run_key(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    fail_loads(monkeypatch, RuntimeError("by the test"))
    first = tick(instance)
    (request,) = first.run_requests or []

    assert not run(instance, request).success
    second = tick(instance)

    assert requested_partitions(second) == [str(DAY)]
    assert (second.run_requests or [])[0].run_key != request.run_key


@pytest.mark.fault("X1", "W7")
def test_runs_per_batch_are_limited_within_retry_window(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    requests = 0
    with monkeypatch.context() as patch:
        fail_loads(patch, RuntimeError("by the test"))
        for _ in range(run_requests.MAX_RUNS_PER_BATCH + 2):
            result = tick(instance)
            requests += len(requested_partitions(result))
            run_all(instance, result)

    assert requests == run_requests.MAX_RUNS_PER_BATCH
    assert skip_message(result) == "1 pending partitions: 0 in progress, 1 exhausted retries"

    monkeypatch.setattr(run_requests, "RETRY_WINDOW", timedelta(0))
    later = tick(instance)
    run_all(instance, later)

    assert str((later.run_requests or [])[0].run_key).endswith(f":{run_requests.MAX_RUNS_PER_BATCH + 1}")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 1


@pytest.mark.fault("R6")
@pytest.mark.parametrize("revision", ["001", "999"])
def test_tick_during_upgrade_is_skipped_with_reason(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, revision: str
) -> None:
    """No run is requested; the first tick after the upgrade requests the work."""
    bucket.put(key("a"), [event(1)])
    add_failed_run(instance)
    set_revision(engine, revision)
    skipped = [tick(instance, name=name) for name in ("new_twap_objects", "stale_twap_orders")]
    set_revision(engine, compare_revisions([], None).head)

    assert [requested_partitions(result) for result in skipped] == [[], []]
    assert all(f"the database is at {revision}, " in skip_message(result) for result in skipped)
    assert requested_partitions(tick(instance)) == [str(DAY)]


@pytest.mark.fault("W7")
@pytest.mark.parametrize(
    ("error", "is_refused"),
    [(psycopg.OperationalError("the server closed the connection"), True), (psycopg.errors.DiskFull("full"), False)],
)
@pytest.mark.usefixtures("engine")
def test_refused_run_is_not_an_attempt_at_the_objects(
    instance: dg.DagsterInstance,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    *,
    is_refused: bool,
) -> None:
    """Refused runs pause a batch for an hour, other failed runs for a day."""
    bucket.put(key("a"), [event(1)])
    fail_loads(monkeypatch, error)
    run_all(instance, tick(instance))
    (failed,) = instance.get_runs()
    monkeypatch.setattr(run_requests, "MAX_RUNS_PER_BATCH", 1)
    within_the_hour = requested_partitions(tick(instance))
    monkeypatch.setattr(run_requests, "UNCOUNTED_RETRY_WINDOW", timedelta(0))

    after_the_hour = requested_partitions(tick(instance))

    assert (REFUSED_TAG in failed.tags) == is_refused
    assert within_the_hour == []
    assert after_the_hour == ([str(DAY)] if is_refused else [])


@pytest.mark.fault("X6")
def test_tick_defers_runs_over_the_budget_of_the_day(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one tick would each fit. A run that never fits is requested: it fails and names the budget."""
    for days in range(2):
        bucket.put(key("a", days=days), [event(days)])
    bucket.put(key("large", days=2), [event(number) for number in range(2_000)])
    size = (bucket.directory / key("a")).stat().st_size
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_DAY", str(size * 3 // 2))

    first = tick(instance)
    run_all(instance, dg.SensorResult(run_requests=(first.run_requests or [])[:1]))
    monkeypatch.setattr(run_requests, "MAX_RUNS_PER_BATCH", 0)
    second = tick(instance)

    assert requested_partitions(first) == [str(DAY), str(DAY + timedelta(days=2))]
    assert skip_message(second) == (
        "2 pending partitions: 0 in progress, 1 exhausted retries, 1 deferred by TWAP_MAX_BYTES_PER_DAY"
    )


@pytest.mark.fault("X1")
def test_bad_object_is_read_three_times(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"not parquet")
    runs = 0
    for _ in range(5):
        result = tick(instance)
        runs += len(requested_partitions(result))
        run_all(instance, result)

    assert runs == 3
    assert skip_message(result) == "no pending objects"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 3


@pytest.mark.fault("X1", control=True)
def test_mutant_retries_without_cap_is_detected(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    with expect_failure(retries_without_a_cap):
        test_bad_object_is_read_three_times(instance, bucket, engine)


def test_batch_with_run_in_progress_is_not_requested(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    add_runs(instance, tick(instance), dg.DagsterRunStatus.STARTED)

    assert skip_message(tick(instance)) == "1 pending partitions: 1 in progress, 0 exhausted retries"


def test_requeued_object_is_requested_without_limit(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    for _ in range(run_requests.MAX_RUNS_PER_BATCH + 1):
        ingest_everything(LocalDirectory(bucket.directory), engine)
        with engine.begin() as connection:
            requeue(connection, [key("a")], "by the test")
        retried = tick(instance)
        add_runs(instance, retried, dg.DagsterRunStatus.FAILURE)
        assert requested_partitions(retried) == [str(DAY)]
