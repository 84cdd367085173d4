"""Functions for the tests of the audits: load a bucket with the difficult cases, audit it, and repair the tables.

The bucket contains a row in three objects with different content, an object overwritten by a version without one of its
rows, quarantined rows, and an object without rows. The buckets of statuses and of fills have the same keys.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.ingest.audit import AuditFinding, AuditReport, audit
from twap_pipeline.ingest.deep_audit import deep_audit, deleted_objects, loaded_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.invariants import differing_orders, ingest_everything

A, B, C, D, EMPTY = (f"hourly/2025/08/20/12/{name}.parquet" for name in ("a", "b", "c", "d", "empty"))
OTHER = "0x" + "7" * 40


def load(engine: Engine, bucket: Bucket) -> None:
    bucket.put(A, [event(1), event(2), event(3, wallet="nobody"), event(2, status="finished", minute=30)])
    bucket.put(B, [event(2, asset="BTC"), event(4), event(4, status="finished", minute=9, executed="7.50")], hours=1)
    bucket.put(C, [event(2, asset="OLD"), event(4), event(7)], hours=-1)
    bucket.put(D, [event(5), event(6)])
    bucket.put(EMPTY, [])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put(D, [event(5, asset="ETH"), event(8, wallet="0x1")], hours=2)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    refresh(engine)
    let_two_hours_pass(engine)


def load_fills(engine: Engine, bucket: Bucket) -> None:
    """Load a bucket of fills. The objects are half an hour newer than those of statuses with the same key."""

    def put(key: str, *rows: dict[str, object], hours: float = 0) -> None:
        bucket.put_frame(key, fill_frame(*rows), hours=hours + 0.5)

    put(A, fill(1), fill(2), fill(3, size="0"), fill(4))
    put(B, fill(2, size="7"), fill(5), hours=1)
    put(C, fill(2, size="8"), fill(7), hours=-1)
    put(D, fill(8), fill(9))
    put(EMPTY)
    ingest_everything(LocalDirectory(bucket.directory), engine, TWAP_FILLS)
    put(D, fill(8, price="51"), fill(10), hours=2)
    ingest_everything(LocalDirectory(bucket.directory), engine, TWAP_FILLS)
    let_two_hours_pass(engine)


def let_two_hours_pass(engine: Engine) -> None:
    """Move all times of the ingest log back. An audit tolerates a clock that went back by less than an hour."""
    past = "interval '2 hours'"
    run(engine, f"UPDATE etl_s3_ingest_log SET ingested_at = ingested_at - {past}")
    run(
        engine,
        f"UPDATE etl_s3_ingest_history SET ingested_at = ingested_at - {past}, recorded_at = recorded_at - {past}",
    )


def refresh(engine: Engine) -> None:
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def quick(engine: Engine, bucket: Bucket, data_set: DataSet = TWAP_STATUS) -> dict[str, tuple[str, ...]]:
    return errors(audit(engine, LocalDirectory(bucket.directory).list_objects(), DAY, data_set=data_set))


def read(engine: Engine, bucket: Bucket, *, requeue: bool = False, data_set: DataSet = TWAP_STATUS) -> AuditReport:
    store = LocalDirectory(bucket.directory)
    listing = list(store.list_objects())
    refs = loaded_objects(engine, listing, DAY, data_set=data_set)
    deleted_keys = deleted_objects(engine, listing, data_set)
    return deep_audit(store, engine, refs, requeue=requeue, deleted_keys=deleted_keys, data_set=data_set)


def deep(engine: Engine, bucket: Bucket, data_set: DataSet = TWAP_STATUS) -> dict[str, tuple[str, ...]]:
    return errors(read(engine, bucket, data_set=data_set).findings)


def errors(findings: Sequence[AuditFinding]) -> dict[str, tuple[str, ...]]:
    return {finding.code: finding.examples for finding in findings if not finding.is_informational}


_TABLES = {
    TWAP_STATUS.name: (
        """SELECT (to_jsonb(one) - 'inserted_at' - 'raw_payload')::text, raw_payload::text FROM twap_status AS one
        ORDER BY twap_id, wallet, ts""",
        "SELECT s3_object_key, row_number, raw_row::text, reason FROM twap_status_quarantine ORDER BY 1, 2",
        "SELECT (to_jsonb(one) - 'refreshed_at')::text FROM twap_orders AS one ORDER BY twap_id, wallet",
    ),
    TWAP_FILLS.name: (
        """SELECT (to_jsonb(one) - 'inserted_at' - 'other_fields')::text, other_fields::text FROM twap_fills AS one
        ORDER BY trade_id, wallet""",
        "SELECT s3_object_key, row_number, raw_row::text, reason FROM twap_fills_quarantine ORDER BY 1, 2",
    ),
}


def tables(engine: Engine, data_set: DataSet = TWAP_STATUS) -> tuple[list[tuple[str, ...]], ...]:
    """Return all rows, quarantined rows and orders, without the write times."""
    with engine.connect() as connection:
        return tuple([tuple(map(str, row)) for row in connection.execute(text(sql))] for sql in _TABLES[data_set.name])


def assert_no_errors(engine: Engine, bucket: Bucket, data_set: DataSet = TWAP_STATUS) -> None:
    assert quick(engine, bucket, data_set) == {}
    assert deep(engine, bucket, data_set) == {}
    assert order_differences(engine) == []


def order_differences(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return differing_orders(connection)


def of(twap_id: int, minute: int = 0) -> str:
    return f"twap_id = '{twap_id}' AND ts >= '2025-08-20 12:{minute:02}+00' AND ts < '2025-08-20 12:{minute + 1:02}+00'"


def repair_once(engine: Engine, bucket: Bucket, data_set: DataSet = TWAP_STATUS) -> AuditReport:
    """Repair the tables as an operator does: audit with requeue, ingestion, refresh of orders."""
    result = read(engine, bucket, requeue=True, data_set=data_set)
    ingest_everything(LocalDirectory(bucket.directory), engine, data_set)
    refresh(engine)
    let_two_hours_pass(engine)
    return result
