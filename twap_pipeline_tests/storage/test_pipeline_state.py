"""The state of the pipeline for metrics and ``status``: what is not done, how new the data are, and all attempts."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import record_audit_read, requeue
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.reports.pipeline_state import (
    AttemptTotals,
    PipelineState,
    attempt_totals,
    loaded_objects,
    missing_days,
    read_pipeline_state,
    unloaded_objects,
)
from twap_pipeline.storage.schema.models import PHASES
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.factories import DAY, NOON, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.storage.loaded_objects import log_entry, scalar
from twap_pipeline_tests.storage.statistics import set_empty_statistics

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUERIES = load_queries("twap_pipeline.storage.reports", "pipeline_state.sql")


def key(name: str) -> str:
    return f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet"


def put_bad(bucket: Bucket, name: str) -> None:
    path = bucket.directory / key(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not parquet")
    bucket.touch(key(name), hours=0)


def load(engine: Engine, bucket: Bucket, *, times: int = 1) -> None:
    for _ in range(times):
        ingest_everything(LocalDirectory(bucket.directory), engine)


def state(engine: Engine) -> PipelineState:
    with engine.connect() as connection:
        return read_pipeline_state(connection)


def totals(engine: Engine) -> AttemptTotals:
    with engine.connect() as connection:
        return sum(attempt_totals(connection, EPOCH).values(), AttemptTotals())


def test_state_of_empty_log_is_zero(engine: Engine) -> None:
    assert state(engine) == PipelineState(0, None, 0, 0, None, None, None, None)
    with engine.connect() as connection:
        assert loaded_objects(connection).objects == 0


def test_state_counts_failed_parked_and_pending_objects(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2, minute=7)], hours=2)
    put_bad(bucket, "parked")
    load(engine, bucket, times=2)
    put_bad(bucket, "failed")
    load(engine, bucket)

    result = state(engine)

    assert (result.failed, result.parked, result.orders_pending) == (1, 1, 2)
    assert result.newest_event_at is not None
    assert result.newest_event_at.replace(microsecond=0) == NOON + timedelta(minutes=7)
    assert result.newest_object_at == NOON + timedelta(days=1, hours=2)
    with engine.connect() as connection:
        listed = [(item.s3_object_key, item.is_parked) for item in unloaded_objects(connection, 5)]
    assert listed == [(key("parked"), True), (key("failed"), False)]


def test_state_times_are_those_of_the_last_attempts(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    put_bad(bucket, "failed")
    load(engine, bucket)
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET ingested_at = '2026-01-02' WHERE error_text IS NULL"))
        connection.execute(text("UPDATE etl_s3_ingest_log SET ingested_at = '2026-01-03' WHERE error_text <> ''"))

    result = state(engine)

    assert result.last_load_at == result.orders_pending_since == datetime(2026, 1, 2, tzinfo=UTC)
    assert result.failed_since == datetime(2026, 1, 3, tzinfo=UTC)


def test_state_after_refresh_has_no_pending_orders(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    put_bad(bucket, "never-loaded")
    load(engine, bucket)
    with engine.begin() as connection:
        refresh_orders(connection, DAY)

    assert state(engine).orders_pending == 0


def test_missing_days_are_those_without_a_loaded_object(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    put_bad(bucket, "failed")
    load(engine, bucket)
    day = timedelta(days=1)

    with engine.connect() as connection:
        assert missing_days(connection, DAY - day, DAY + 2 * day) == [DAY - day, DAY + day, DAY + 2 * day]
        assert missing_days(connection, DAY, DAY) == []
        assert missing_days(connection, DAY, DAY - day) == []


def test_totals_never_decrease(engine: Engine, bucket: Bucket) -> None:
    """A replaced version, a failed attempt that a later one replaced, and a requeued version stay counted."""
    bucket.put(key("a"), [event(1), event(2)])
    put_bad(bucket, "b")

    def requeue_everything() -> None:
        with engine.begin() as connection:
            requeue(connection, [key("a"), key("b")], "requeued")

    def audit_everything() -> None:
        with engine.begin() as connection:
            record_audit_read(connection, TWAP_STATUS, list(LocalDirectory(bucket.directory).list_objects()))

    steps: list[tuple[Callable[[], None], tuple[int, int, int]]] = [
        (lambda: load(engine, bucket), (1, 1, 2)),
        (lambda: load(engine, bucket), (1, 2, 2)),
        (lambda: bucket.put(key("a"), [event(1), event(2), event(3)], hours=1), (1, 2, 2)),
        (lambda: load(engine, bucket), (2, 3, 5)),
        (lambda: bucket.put(key("b"), [event(4)], hours=1), (2, 3, 5)),
        (lambda: load(engine, bucket), (3, 3, 6)),
        (requeue_everything, (3, 3, 6)),
        (lambda: load(engine, bucket), (5, 3, 10)),
        (audit_everything, (5, 3, 10)),
    ]
    fetched = 0
    for step, expected in steps:
        step()
        after = totals(engine)
        assert (after.loaded, after.failed, after.row_counts.total) == expected
        assert after.bytes_fetched >= fetched
        fetched = after.bytes_fetched


def test_totals_since_a_day_leave_out_earlier_days(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    load(engine, bucket)
    now = datetime.now(UTC)

    with engine.connect() as connection:
        assert attempt_totals(connection, now - timedelta(hours=1))[now.date()].loaded == 1
        assert attempt_totals(connection, now + timedelta(hours=1)) == {}


@pytest.mark.parametrize(("source_url", "fetches"), [("s3://bucket/prefix/", 2), ("file:///directory/", 0)])
def test_totals_count_fetches_from_s3(engine: Engine, bucket: Bucket, source_url: str, fetches: int) -> None:
    bucket.put(key("a"), [event(1)])
    load(engine, bucket)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE etl_s3_ingest_log SET source_url = :url, bytes_fetched = 7"), {"url": source_url}
        )
        record_audit_read(connection, TWAP_STATUS, list(LocalDirectory(bucket.directory).list_objects()))

    result = totals(engine)

    assert (result.s3_fetches, result.s3_bytes_fetched) == (fetches, result.bytes_fetched if fetches else 0)


def test_log_records_milliseconds_of_each_phase(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(number) for number in range(3000)])
    (ref,) = LocalDirectory(bucket.directory).list_objects()

    result = ingest_object(LocalDirectory(bucket.directory), engine, ref, DAY)

    entry = log_entry(engine)
    for phase in PHASES:
        recorded_seconds = getattr(entry, f"{phase}_ms") / 1000
        assert 0 <= recorded_seconds <= result.seconds[phase] + 0.001
    assert entry.writing_ms > 0
    assert totals(engine).phase_seconds == tuple(getattr(entry, f"{phase}_ms") / 1000 for phase in PHASES)


def test_log_of_failed_attempt_has_the_phases_that_began(engine: Engine, bucket: Bucket) -> None:
    put_bad(bucket, "a")
    load(engine, bucket)

    entry = log_entry(engine)

    assert entry.reading_ms is not None
    assert entry.decoding_ms is not None
    assert entry.writing_ms is None


def test_requeue_moves_the_durations_to_the_history(engine: Engine, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    load(engine, bucket)
    before = totals(engine).phase_seconds
    with engine.begin() as connection:
        requeue(connection, [key("a")], "requeued")

    assert scalar(engine, "SELECT writing_ms IS NULL FROM etl_s3_ingest_log") is True
    assert totals(engine).phase_seconds == before


def test_queries_read_no_whole_table(engine: Engine) -> None:
    """The lookups of each missing day also with the statistics of an empty table, as they are during a first load."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, object_date,"
                " orders_refreshed_at) SELECT n, t, t, t, t"
                " FROM generate_series(1, 20000) AS n, LATERAL (SELECT now() - n * interval '1 hour' AS t) AS times"
            )
        )
        connection.execute(text("ANALYZE etl_s3_ingest_log"))

    assert indexes_of_plan(engine, "state") == {"not_loaded", "orders_pending", "ingested_at", "object_date"}
    assert indexes_of_plan(engine, "attempt_totals") == {"ingested_at", "pkey"}
    assert indexes_of_plan(engine, "unloaded_objects") == {"not_loaded"}
    assert indexes_of_plan(engine, "missing_days") == {"object_date"}
    set_empty_statistics(engine)
    assert indexes_of_plan(engine, "missing_days") == {"object_date"}


def indexes_of_plan(engine: Engine, query: str) -> set[str]:
    """Return the indexes of the log that the plan of a query uses; ``pkey`` looks up single keys."""
    parameters = {
        "data_set": "twap_status",
        "attempts_max": 3,
        "limit": 5,
        "first": DAY,
        "last": DAY,
        "since": datetime.now(UTC),
    }
    with engine.connect() as connection:
        plan = "\n".join(connection.execute(text(f"EXPLAIN {QUERIES[query]}"), parameters).scalars())
    assert "Seq Scan on etl_s3_ingest_log " not in plan
    return {name.removesuffix("_idx") for name in re.findall(r"Scan.* using etl_s3_ingest_log_(\w+)", plan)}
